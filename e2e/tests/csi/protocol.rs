//! The part of CSI that the driver has written down is the specification's.

use freehold_e2e::lab::{Lab, builds};
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};

fn file(folder: &std::path::Path) -> FileDescriptorProto {
    let all = protox::compile(["csi.proto"], [folder]).unwrap();
    all.file.into_iter().find(|f| f.name() == "csi.proto").unwrap()
}

/// `message.field = number: type`, each on a line.
fn lines(file: &FileDescriptorProto) -> Vec<String> {
    let mut found = Vec::new();
    for message in &file.message_type {
        message_lines("", message, &mut found);
    }
    for of in &file.enum_type {
        enum_lines("", of, &mut found);
    }
    for service in &file.service {
        for method in &service.method {
            found.push(format!(
                "{}.{}: {} -> {}",
                service.name(),
                method.name(),
                method.input_type(),
                method.output_type()
            ));
        }
    }
    found
}

fn message_lines(within: &str, message: &DescriptorProto, found: &mut Vec<String>) {
    let name = format!("{within}{}.", message.name());
    for field in &message.field {
        found.push(format!(
            "{name}{} = {}: {:?} {:?} {} {}",
            field.name(),
            field.number(),
            field.label(),
            field.r#type(),
            field.type_name(),
            field.oneof_index.is_some()
        ));
    }
    for nested in &message.nested_type {
        message_lines(&name, nested, found);
    }
    for of in &message.enum_type {
        enum_lines(&name, of, found);
    }
}

fn enum_lines(within: &str, of: &EnumDescriptorProto, found: &mut Vec<String>) {
    for value in &of.value {
        found.push(format!(
            "{within}{}.{} = {}",
            of.name(),
            value.name(),
            value.number()
        ));
    }
}

#[test]
fn every_field_and_call_of_the_drivers_protocol_is_in_the_specification() {
    let lab = Lab::of_this_checkout();
    let spec = builds::module_dir(&lab, "csi-sanity", "github.com/container-storage-interface/spec").unwrap();
    let theirs = lines(&file(&spec));
    let ours = lines(&file(&lab.repo.join("e2e/csi/proto")));
    assert!(
        ours.len() > 100 && theirs.len() > ours.len(),
        "{} {}",
        ours.len(),
        theirs.len()
    );
    let wrong: Vec<&String> = ours.iter().filter(|line| !theirs.contains(line)).collect();
    assert!(wrong.is_empty(), "not in the specification: {wrong:#?}");
}
