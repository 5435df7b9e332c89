//! Every state of some objects, as the API server tells it. In: what to ask `kubectl get --watch` for. Out: a call for each
//! object as it is now and after each change. It ends with its owner.

use std::io::BufReader;
use std::process::{Child, Stdio};
use std::thread::JoinHandle;

use freehold_e2e::lab::databases::tied;
use freehold_e2e::lab::{addons, shell};
use serde_json::Value;

use crate::stage::lab;

pub struct Feed {
    process: Child,
    reader: Option<JoinHandle<()>>,
}

impl Feed {
    pub fn start(args: &[&str], mut on: impl FnMut(&Value) + Send + 'static) -> Feed {
        let mut process = tied(addons::kubectl(lab()))
            .arg("get")
            .args(args)
            .args(["--watch", "-o", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(shell::append(&lab().log("watches")).unwrap())
            .spawn()
            .unwrap();
        let told = BufReader::new(process.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            let objects = serde_json::Deserializer::from_reader(told).into_iter::<Value>();
            // What is cut off in the middle is the end.
            for object in objects.map_while(Result::ok) {
                on(&object);
            }
        });
        Feed {
            process,
            reader: Some(reader),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
