//! OCI images without a registry: layers are tar files, an image is an OCI layout in one tar that
//! containerd imports. The same inputs give the same digest.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What an image holds: an optional base layer, files, and how it is run.
#[derive(Debug, Clone, Default)]
pub struct Recipe {
    /// Repository without tag or digest, for example `freehold.lab/board`.
    pub repository: String,
    pub tag: String,
    /// A tar of a root file system.
    pub base: Option<PathBuf>,
    /// Host path, path in the image (absolute), mode.
    pub files: Vec<(PathBuf, String, u32)>,
    pub entrypoint: Vec<String>,
    pub user: String,
    pub path: String,
    pub env: Vec<String>,
}

/// An image that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `repository@sha256:…`, the name under which containerd has it.
    pub reference: String,
    /// `repository:tag@sha256:…`, for readers that want to know the version.
    pub tagged: String,
    /// The OCI layout.
    pub archive: PathBuf,
}

struct Blob {
    digest: String,
    size: u64,
    source: Source,
}

enum Source {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// Makes the image at `archive` and says under which reference.
pub fn build(recipe: &Recipe, archive: &Path) -> Result<Image> {
    let mut layers = Vec::new();
    if let Some(base) = &recipe.base {
        layers.push(blob_of_file(base)?);
    }
    if !recipe.files.is_empty() {
        layers.push(blob_of_bytes(files_layer(&recipe.files)?));
    }
    let config = blob_of_bytes(serde_json::to_vec(&config(recipe, &layers))?);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": layers.iter().map(|l| descriptor("application/vnd.oci.image.layer.v1.tar", l)).collect::<Vec<_>>(),
    });
    let manifest = blob_of_bytes(serde_json::to_vec(&manifest)?);
    let reference = format!("{}@{}", recipe.repository, manifest.digest);
    let tagged = format!("{}:{}@{}", recipe.repository, recipe.tag, manifest.digest);
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = json!({"io.containerd.image.name": reference});
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]});

    let partial = archive.with_extension("partial");
    let mut out =
        tar::Builder::new(File::create(&partial).with_context(|| format!("create {}", partial.display()))?);
    append(&mut out, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(&mut out, "index.json", &serde_json::to_vec(&index)?)?;
    for blob in layers.iter().chain([&config, &manifest]) {
        let name = format!("blobs/sha256/{}", blob.digest.trim_start_matches("sha256:"));
        match &blob.source {
            Source::Bytes(bytes) => append(&mut out, &name, bytes)?,
            Source::File(path) => {
                let mut header = header(blob.size, 0o644);
                out.append_data(&mut header, &name, File::open(path)?)?;
            }
        }
    }
    out.into_inner()?.flush()?;
    fs::rename(&partial, archive)?;
    Ok(Image {
        reference,
        tagged,
        archive: archive.to_path_buf(),
    })
}

fn config(recipe: &Recipe, layers: &[Blob]) -> Value {
    let mut env = vec![format!("PATH={}", recipe.path)];
    env.extend(recipe.env.iter().cloned());
    json!({
        "architecture": "amd64", "os": "linux",
        "config": {"User": recipe.user, "Env": env, "Entrypoint": recipe.entrypoint, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|l| &l.digest).collect::<Vec<_>>()},
    })
}

fn descriptor(media_type: &str, blob: &Blob) -> Value {
    json!({"mediaType": media_type, "digest": blob.digest, "size": blob.size})
}

/// One layer with the files, their folders and a writable /tmp; times are zero, so that it is reproducible.
fn files_layer(files: &[(PathBuf, String, u32)]) -> Result<Vec<u8>> {
    let mut out = tar::Builder::new(Vec::new());
    let folder = |out: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32| -> Result<()> {
        let mut header = header(0, mode);
        header.set_entry_type(tar::EntryType::Directory);
        Ok(out.append_data(&mut header, format!("{name}/"), io::empty())?)
    };
    folder(&mut out, "tmp", 0o1777)?;
    let mut folders = std::collections::BTreeSet::new();
    for (_, target, _) in files {
        let mut at = Path::new(target.trim_start_matches('/')).parent();
        while let Some(parent) = at.filter(|p| !p.as_os_str().is_empty()) {
            folders.insert(parent.to_string_lossy().into_owned());
            at = parent.parent();
        }
    }
    // A base with merged /usr has links at these places; a folder in a later layer would hide them.
    for name in folders
        .iter()
        .filter(|n| !matches!(n.as_str(), "bin" | "lib" | "sbin" | "usr" | "etc" | "usr/bin"))
    {
        folder(&mut out, name, 0o755)?;
    }
    for (source, target, mode) in files {
        let content = fs::read(source).with_context(|| format!("read {}", source.display()))?;
        let mut header = header(content.len() as u64, *mode);
        out.append_data(&mut header, target.trim_start_matches('/'), content.as_slice())?;
    }
    Ok(out.into_inner()?)
}

fn append(out: &mut tar::Builder<File>, name: &str, content: &[u8]) -> Result<()> {
    let mut header = header(content.len() as u64, 0o644);
    Ok(out.append_data(&mut header, name, content)?)
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header
}

fn blob_of_bytes(bytes: Vec<u8>) -> Blob {
    Blob {
        digest: format!("sha256:{}", hex(&Sha256::digest(&bytes))),
        size: bytes.len() as u64,
        source: Source::Bytes(bytes),
    }
}

fn blob_of_file(path: &Path) -> Result<Blob> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        size += read as u64;
    }
    Ok(Blob {
        digest: format!("sha256:{}", hex(&hash.finalize())),
        size,
        source: Source::File(path.to_path_buf()),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_inputs_give_the_same_digest_and_a_changed_file_another() {
        let folder = std::env::temp_dir().join(format!("freehold-image-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join("program");
        let recipe = Recipe {
            repository: "freehold.lab/x".into(),
            tag: "1".into(),
            files: vec![(program.clone(), "/program".into(), 0o755)],
            ..Recipe::default()
        };
        let mut references = Vec::new();
        for content in ["one", "one", "two"] {
            fs::write(&program, content).unwrap();
            references.push(build(&recipe, &folder.join("x.tar")).unwrap().reference);
        }
        assert_eq!(references[0], references[1]);
        assert_ne!(references[1], references[2]);
        assert!(references[0].starts_with("freehold.lab/x@sha256:"));
        fs::remove_dir_all(folder).unwrap();
    }
}
