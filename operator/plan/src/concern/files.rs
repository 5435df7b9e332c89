//! The files that a Release gives to a component. In: paths and contents. Out: annotations of the pod template, and a volume that
//! shows each of them at its path.
//!
//! Invariant: they are part of the template and of nothing else, so that pods of two versions beside each other have their own
//! ones, a rollback brings the old ones back, and nothing is left to be cleared away.

use freehold_crds::File;
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, DownwardAPIVolumeSource, ObjectFieldSelector, PodTemplateSpec, Volume, VolumeMount,
};

const VOLUME: &str = "files";

/// Gives the files to every container of the template.
pub fn give(template: &mut PodTemplateSpec, files: &[File]) {
    let (Some(metadata), Some(spec)) = (&mut template.metadata, &mut template.spec) else {
        return;
    };
    // The API server takes a Release's list in another order for the same one, and that restarts nobody.
    let mut files: Vec<&File> = files.iter().collect();
    files.sort_by_key(|file| &file.path);
    if files.is_empty() {
        return;
    }
    let numbered = || files.iter().enumerate();
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.extend(numbered().map(|(number, file)| (annotation(number), file.content.clone())));
    let items = numbered().map(|(number, _)| item(number)).collect();
    spec.volumes.get_or_insert_default().push(Volume {
        name: VOLUME.into(),
        downward_api: Some(DownwardAPIVolumeSource {
            default_mode: Some(0o444),
            items: Some(items),
        }),
        ..Volume::default()
    });
    for container in &mut spec.containers {
        let mounts = container.volume_mounts.get_or_insert_default();
        mounts.extend(numbered().map(|(number, file)| VolumeMount {
            name: VOLUME.into(),
            mount_path: file.path.clone(),
            sub_path: Some(number.to_string()),
            read_only: Some(true),
            ..VolumeMount::default()
        }));
    }
}

fn annotation(number: usize) -> String {
    format!("freehold.dev/file-{number}")
}

fn item(number: usize) -> DownwardAPIVolumeFile {
    DownwardAPIVolumeFile {
        path: number.to_string(),
        field_ref: Some(ObjectFieldSelector {
            api_version: Some("v1".into()),
            field_path: format!("metadata.annotations['{}']", annotation(number)),
        }),
        ..DownwardAPIVolumeFile::default()
    }
}
