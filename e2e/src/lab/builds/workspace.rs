//! The Go workspace that most programs are built in: one version of each library for all of them.
//!
//! In: `e2e/lab/go.work`. Out: a workspace under `.lab/build` that differs in one thing: Traefik's library for ACME brings the clients
//! of 170 DNS services with it, a third of all that there would be to compile. The lab asks none of them: it takes a copy of the
//! library without them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Stamp, copy_source, module_dir};
use crate::lab::Lab;

const LEGO: &str = "github.com/go-acme/lego/v4";

/// What decides the versions of everything in the workspace.
pub fn inputs(lab: &Lab) -> Result<Vec<PathBuf>> {
    let home = lab.go_modules();
    let mut files = vec![home.join("go.work"), home.join("go.work.sum")];
    files.extend(used(lab)?.iter().map(|module| home.join(module).join("go.mod")));
    Ok(files)
}

/// The modules that `go.work` names.
pub fn used(lab: &Lab) -> Result<Vec<String>> {
    let path = lab.go_modules().join("go.work");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let line = |line: &str| line.trim().strip_prefix("./").map(String::from);
    Ok(text.lines().filter_map(line).collect())
}

/// Makes it, and returns its file.
pub fn make(lab: &Lab) -> Result<PathBuf> {
    let home = lab.build().join("workspace");
    let lego = home.join("lego");
    let origin = module_dir(lab, "gateway", LEGO)?;
    let stamp = Stamp::of(
        lab,
        "lego",
        format!("{} {PROVIDERS}", origin.display()).as_bytes(),
    );
    if !stamp.holds() || !lego.exists() {
        let _ = fs::remove_dir_all(&lego);
        fs::create_dir_all(&home)?;
        copy_source(&origin, &lego, &lab.log("build-workspace"))?;
        fs::write(lego.join("providers/dns/zz_gen_dns_providers.go"), PROVIDERS)?;
        stamp.set()?;
    }
    let source = lab.go_modules();
    let text = fs::read_to_string(source.join("go.work"))?;
    let text = text.replace("./", &format!("{}/", source.display()));
    let file = home.join("go.work");
    fs::write(&file, format!("{text}\nreplace {LEGO} => {}\n", lego.display()))?;
    fs::copy(source.join("go.work.sum"), home.join("go.work.sum"))?;
    Ok(file)
}

/// In place of the list of DNS services.
pub const PROVIDERS: &str = r#"package dns

import (
	"fmt"

	"github.com/go-acme/lego/v4/challenge"
)

// NewDNSChallengeProviderByName knows none: the lab's gateway asks no DNS service.
func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	return nil, fmt.Errorf("the lab's gateway is built without clients of DNS services: %s", name)
}
"#;
