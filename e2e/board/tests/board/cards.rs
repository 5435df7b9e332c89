//! Boards, lanes, cards; their events; idempotency; export.

use crate::instance::{Instance, board};
use axum::http::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn cards_live_move_and_die_with_their_events() {
    let instance = Instance::start().await;
    let owner = instance.owner().await;
    let (board, lane) = board(&owner).await;
    let shown = owner
        .get(&format!("/api/boards/{board}"))
        .await
        .expect(200)
        .json();
    let doing = shown["lanes"][1]["id"].as_i64().unwrap();
    let cards = format!("/api/lanes/{lane}/cards");

    let mut ids = Vec::new();
    for title in ["one", "two", "three"] {
        let card = owner
            .post(&cards, json!({ "title": title }))
            .await
            .expect(201)
            .json();
        ids.push(card["id"].as_i64().unwrap());
    }
    owner.post(&cards, json!({ "title": " " })).await.expect(422);
    owner
        .post("/api/lanes/999999/cards", json!({ "title": "x" }))
        .await
        .expect(404);
    owner
        .post(&cards, json!({ "title": "x", "assignee_id": 999_999 }))
        .await
        .expect(422);

    let titles = async || -> Vec<String> {
        let list = owner
            .get(&format!("/api/boards/{board}/cards"))
            .await
            .expect(200)
            .json();
        list.as_array()
            .unwrap()
            .iter()
            .map(|card| card["title"].as_str().unwrap().to_owned())
            .collect()
    };
    let to = |lane: i64, position: usize| json!({ "lane_id": lane, "position": position });
    owner
        .post(&format!("/api/cards/{}/move", ids[2]), to(lane, 0))
        .await
        .expect(200);
    assert_eq!(titles().await, ["three", "one", "two"]);
    owner
        .post(&format!("/api/cards/{}/move", ids[0]), to(doing, 9))
        .await
        .expect(200);
    owner
        .post(&format!("/api/cards/{}/move", ids[1]), to(doing, 0))
        .await
        .expect(200);
    assert_eq!(titles().await, ["three", "two", "one"]);

    let edit = Some(json!({ "title": "ONE", "description": "more", "assignee_id": 1 }));
    let card = owner
        .send(Method::PATCH, &format!("/api/cards/{}", ids[0]), &[], edit)
        .await
        .expect(200)
        .json();
    assert_eq!(
        (card["title"].as_str(), card["assignee_id"].as_i64()),
        (Some("ONE"), Some(1))
    );
    let edit = Some(json!({ "assignee_id": null }));
    let card = owner
        .send(Method::PATCH, &format!("/api/cards/{}", ids[0]), &[], edit)
        .await
        .expect(200)
        .json();
    assert_eq!(
        (card["title"].as_str(), &card["assignee_id"]),
        (Some("ONE"), &Value::Null)
    );

    owner
        .send(Method::DELETE, &format!("/api/cards/{}", ids[0]), &[], None)
        .await
        .expect(204);
    owner
        .send(Method::DELETE, &format!("/api/cards/{}", ids[0]), &[], None)
        .await
        .expect(404);
    assert_eq!(titles().await, ["three", "two"]);

    let events = owner.get("/api/events?limit=3").await.expect(200).json();
    let kinds: Vec<&str> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["card.deleted", "card.edited", "card.edited"]);
    assert_eq!(instance.count("outbox where kind = 'card.created'").await, 3);
}

#[tokio::test]
async fn a_change_without_its_event_does_not_happen() {
    let instance = Instance::start().await;
    let owner = instance.owner().await;
    let (_, lane) = board(&owner).await;
    let sql = instance.sql().await;
    let before = instance.count("outbox").await;
    sql.batch_execute(
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'refused'; end $$;
         create trigger refuse before insert on outbox for each row execute function refuse();",
    )
    .await
    .unwrap();
    owner
        .post(&format!("/api/lanes/{lane}/cards"), json!({ "title": "lost" }))
        .await
        .expect(500);
    assert_eq!(
        (instance.count("cards").await, instance.count("outbox").await),
        (0, before)
    );

    // And the other way round: the event is written, but the commit fails.
    sql.batch_execute(
        "drop trigger refuse on outbox;
         create constraint trigger refuse after insert on outbox deferrable initially deferred
             for each row execute function refuse();",
    )
    .await
    .unwrap();
    let answer = owner
        .post(&format!("/api/lanes/{lane}/cards"), json!({ "title": "lost" }))
        .await;
    assert!(answer.status.is_server_error(), "{answer:?}");
    assert_eq!(
        (instance.count("cards").await, instance.count("outbox").await),
        (0, before)
    );
}

#[tokio::test]
async fn an_idempotency_key_makes_one_card() {
    let instance = Instance::start().await;
    let owner = instance.owner().await;
    let (_, lane) = board(&owner).await;
    let path = format!("/api/lanes/{lane}/cards");
    let post = |key: &'static str, title: &'static str| {
        let (owner, path) = (&owner, &path);
        async move {
            owner
                .send(
                    Method::POST,
                    path,
                    &[("idempotency-key", key)],
                    Some(json!({ "title": title })),
                )
                .await
        }
    };
    let (a, b, c) = tokio::join!(post("k1", "once"), post("k1", "once"), post("k1", "once"));
    let first = a.expect(201).text;
    assert_eq!([b.expect(201).text, c.expect(201).text], [first.clone(), first]);
    post("k1", "another").await.expect(409);
    post("k2", "another").await.expect(201);
    assert_eq!(instance.count("cards").await, 2);
    assert_eq!(instance.count("outbox where kind = 'card.created'").await, 2);
}

#[tokio::test]
async fn the_export_is_rfc_4180() {
    let instance = Instance::start().await;
    let owner = instance.owner().await;
    let (_, lane) = board(&owner).await;
    let card = json!({ "title": "say \"hi\", twice", "description": "two\nlines", "assignee_id": 1 });
    owner
        .post(&format!("/api/lanes/{lane}/cards"), card)
        .await
        .expect(201);

    let output = instance.run(&["export"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.stdout.ends_with(b"\r\n"));
    let mut csv = csv::Reader::from_reader(output.stdout.as_slice());
    let header: Vec<String> = csv.headers().unwrap().iter().map(str::to_owned).collect();
    let due = if cfg!(has_due_date) {
        ",due_on,due_set_at"
    } else {
        ""
    };
    let expected = format!("id,board,lane,position,title,description,assignee{due},created_at,updated_at");
    assert_eq!(header.join(","), expected);
    let rows: Vec<csv::StringRecord> = csv.records().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.len(), 1);
    let fields: Vec<&str> = rows[0].iter().skip(1).take(6).collect();
    assert_eq!(
        fields,
        [
            "Launch",
            "To do",
            "1",
            "say \"hi\", twice",
            "two\nlines",
            "owner@acme.example"
        ]
    );
    assert!(rows[0].iter().next_back().unwrap().ends_with('Z'));

    let file = instance.directory.join("out.csv");
    for what in ["boards", "users", "events", "cards"] {
        let output = instance.run(&["export", "--what", what, "--out", file.to_str().unwrap()]);
        assert!(
            output.status.success(),
            "{what}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.lines().count() > 1, "{what}: {text}");
        assert!(!text.contains("argon2"), "{what} tells passwords");
    }
}

#[cfg(has_due_date)]
#[tokio::test]
async fn a_card_tells_since_when_it_has_its_due_date() {
    let instance = Instance::start().await;
    let owner = instance.owner().await;
    let (_, lane) = board(&owner).await;
    let new = json!({ "title": "dated", "due_on": "2030-05-03" });
    let made = owner
        .post(&format!("/api/lanes/{lane}/cards"), new)
        .await
        .expect(201)
        .json();
    assert_eq!(made["due_on"], "2030-05-03");
    assert!(made["due_set_at"].is_string(), "{made}");

    let path = format!("/api/cards/{}", made["id"]);
    let edit = async |due: Value| {
        let edit = Some(json!({ "due_on": due }));
        owner
            .send(Method::PATCH, &path, &[], edit)
            .await
            .expect(200)
            .json()
    };
    assert_eq!(edit(json!("2030-05-03")).await["due_set_at"], made["due_set_at"]);
    let later = edit(json!("2030-05-04")).await;
    assert!(
        later["due_set_at"].as_str() > made["due_set_at"].as_str(),
        "{later}"
    );
    assert_eq!(edit(Value::Null).await["due_set_at"], Value::Null);
}
