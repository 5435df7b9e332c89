//! In: the database. Out: RFC 4180 CSV (CRLF, a header line) on stdout or in a file.
//!
//! One snapshot (repeatable read), streamed row by row. Fields are as they were typed: a spreadsheet that runs formulas
//! must import them as text.

use crate::{
    database::source::{Purpose, Source},
    settings::Current,
};
use anyhow::Context;
use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum What {
    Cards,
    Boards,
    Users,
    Events,
}

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, value_enum, default_value_t = What::Cards)]
    what: What,
    /// File to write; stdout when it isn't given.
    #[arg(long)]
    out: Option<PathBuf>,
}

const TIME: &str = r#"'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"#;

/// Columns as `(name, SQL that gives text)`, and where from.
fn query(what: What) -> (Vec<(&'static str, String)>, &'static str) {
    let plain = |name: &'static str, sql: &str| (name, format!("({sql})::text"));
    let time = |name: &'static str, sql: &str| (name, format!("to_char({sql} at time zone 'UTC', {TIME})"));
    match what {
        What::Cards => {
            let mut columns = vec![
                plain("id", "c.id"),
                plain("board", "b.name"),
                plain("lane", "l.name"),
                plain(
                    "position",
                    "row_number() over (partition by l.id order by c.position, c.id)",
                ),
                plain("title", "c.title"),
                plain("description", "c.description"),
                plain("assignee", "u.email"),
            ];
            if cfg!(has_due_date) {
                columns.push(plain("due_on", "c.due_on"));
                columns.push(time("due_set_at", "c.due_set_at"));
            }
            columns.extend([
                time("created_at", "c.created_at"),
                time("updated_at", "c.updated_at"),
            ]);
            let from = "from cards c join lanes l on l.id = c.lane_id join boards b on b.id = l.board_id
                        left join users u on u.id = c.assignee_id
                        order by b.id, l.position, l.id, c.position, c.id";
            (columns, from)
        }
        What::Boards => {
            let columns = vec![
                plain("id", "b.id"),
                plain("name", "b.name"),
                plain("lanes", "select count(*) from lanes l where l.board_id = b.id"),
                time("created_at", "b.created_at"),
                time("updated_at", "b.updated_at"),
            ];
            (columns, "from boards b order by b.id")
        }
        What::Users => {
            let columns = vec![
                plain("id", "id"),
                plain("email", "email"),
                plain("name", "name"),
                plain("role", "role"),
                time("created_at", "created_at"),
            ];
            (columns, "from users order by id")
        }
        What::Events => {
            let columns = vec![
                plain("id", "o.id"),
                time("occurred_at", "o.occurred_at"),
                plain("actor", "u.email"),
                plain("kind", "o.kind"),
                plain("entity", "o.entity"),
                plain("payload", "o.payload"),
            ];
            (
                columns,
                "from outbox o left join users u on u.id = o.actor order by o.id",
            )
        }
    }
}

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let (columns, from) = query(args.what);
    let mut client = Source::from_env(Current::follow_if_there()?)
        .connect(Purpose::Export)
        .await?;
    let out: Box<dyn Write> = match &args.out {
        Some(path) => Box::new(File::create(path).with_context(|| format!("creating {}", path.display()))?),
        None => Box::new(io::stdout().lock()),
    };
    let mut csv = writer(out);
    csv.write_record(columns.iter().map(|(name, _)| name))?;
    let list: Vec<&str> = columns.iter().map(|(_, sql)| sql.as_str()).collect();
    let transaction = client.build_transaction().read_only(true).start().await?;
    let cursor = transaction
        .bind(&*format!("select {} {from}", list.join(", ")), &[])
        .await?;
    loop {
        let rows = transaction.query_portal(&cursor, 500).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let fields: Result<Vec<Option<&str>>, _> =
                (0..row.len()).map(|index| row.try_get(index)).collect();
            csv.write_record(fields?.into_iter().map(Option::unwrap_or_default))?;
        }
    }
    csv.flush()?;
    Ok(())
}

fn writer<W: Write>(out: W) -> csv::Writer<W> {
    csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_as_rfc_4180_says() {
        let mut csv = writer(Vec::new());
        csv.write_record(["1", "a,b", "say \"hi\"", "two\nlines", ""])
            .unwrap();
        let bytes = csv.into_inner().unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "1,\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\",\r\n"
        );
    }

    #[test]
    fn the_due_date_is_a_column_from_1_1_on() {
        let (columns, _) = query(What::Cards);
        assert_eq!(
            columns.iter().any(|(name, _)| *name == "due_on"),
            cfg!(has_due_date)
        );
    }
}
