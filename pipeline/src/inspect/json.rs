//! The same report for scripts. What is wrong stands under `error` in place of what was asked for.

use std::fmt::Display;

use serde_json::{Map, Value, json};

use super::{Cosmos3Report, Inspection, Network, OnRanks, Report};
use crate::{cosmos3, lingbot};

impl Inspection {
    /// The report as an object: `name`, `family`, `complete`, `networks`, and what a session or a clip would hold in bytes.
    pub fn to_json(&self) -> Value {
        let mut object = match self {
            Inspection::LingBot(report) => report.to_json(),
            Inspection::Cosmos3(report) => report.to_json(),
        };
        object["complete"] = self.is_complete().into();
        object
    }
}

impl OnRanks {
    /// Their number, the bytes of each, and what is there once.
    pub fn to_json(self) -> Value {
        match self {
            OnRanks::Session(lingbot::footprint::OnRanks { ranks, self_attention, chunk, once }) => json!({
                "count": ranks, "self_attention_bytes_each": self_attention, "chunk_bytes_each": chunk, "bytes_once": once
            }),
            OnRanks::Clip(cosmos3::footprint::OnRanks { ranks, prompts, pass, once }) => json!({
                "count": ranks, "prompts_bytes_each": prompts, "pass_bytes_each": pass, "bytes_once": once
            }),
        }
    }
}

impl Report {
    fn to_json(&self) -> Value {
        let networks = self.networks.iter().map(|(component, network)| (component.to_string(), or_error(network)));
        let session = self.session.as_ref().map(|session| match session {
            Ok((shape, bytes)) => json!({
                "size": shape.size.to_string(),
                "sink": shape.sink,
                "window": shape.window,
                "first_chunk": shape.first_chunk,
                "bytes": {
                    "self_attention": bytes.self_attention,
                    "cross_attention": bytes.cross_attention,
                    "decoder": bytes.decoder,
                    "condition": bytes.condition,
                    "latents": bytes.latents,
                    "chunk": bytes.chunk,
                    "total": bytes.total(),
                },
            }),
            Err(refusal) => error(refusal),
        });
        json!({
            "name": self.name,
            "family": "LingBot World",
            "compute": self.compute.to_string(),
            "layout": self.layout.to_string(),
            "lineage": self.lineage.to_string(),
            "networks": networks.collect::<Map<String, Value>>(),
            "errors": errors([self.config.as_ref().err(), self.beside.as_ref().err()]),
            "session": session,
            "on_gpu": self.on_gpu().map(|bytes| json!({ "weights_bytes": bytes.weights, "session_bytes": bytes.session })),
        })
    }
}

impl Cosmos3Report {
    fn to_json(&self) -> Value {
        let clips = self.clips.as_ref().map(|clips| match clips {
            Ok(clips) => clips
                .iter()
                .map(|(shape, bytes)| {
                    json!({
                        "size": shape.size.to_string(),
                        "frames": shape.frames,
                        "bytes": {
                            "latents": bytes.latents,
                            "prompts": bytes.prompts,
                            "pass": bytes.pass,
                            "decoder": bytes.decoder,
                            "decoding": bytes.decoding,
                            "total": bytes.total(),
                        },
                    })
                })
                .collect(),
            Err(refusal) => error(refusal),
        });
        let unused = self.unused.iter().map(|(part, tensors)| (part.to_string(), Value::from(*tensors)));
        json!({
            "name": self.name,
            "family": "Cosmos3",
            "compute": self.compute.to_string(),
            "variant": self.config.as_ref().ok().map(|config| config.variant().to_string()),
            "networks": { "transformer": or_error(&self.transformer), "vae": or_error(&self.vae) },
            "unused_tensors": unused.collect::<Map<String, Value>>(),
            "errors": errors([self.config.as_ref().err(), self.beside.as_ref().err()]),
            "clips": clips,
            "on_gpu": self.on_gpu().map(|bytes| json!({ "weights_bytes": bytes.weights, "clip_bytes": bytes.session })),
        })
    }
}

fn or_error(network: &Result<Network, String>) -> Value {
    match network {
        Ok(network) => json!({
            "summary": network.summary,
            "files": network.files,
            "tensors": network.tensors,
            "parameters": network.parameters,
            "types": network.types,
            "disk_bytes": network.disk_bytes,
            "load_bytes": network.load_bytes,
            "faults": network.faults,
        }),
        Err(reason) => error(reason),
    }
}

fn error(reason: impl Display) -> Value {
    json!({ "error": reason.to_string() })
}

/// What keeps the networks from being a model, then what is wrong beside them.
fn errors(found: [Option<&String>; 2]) -> Vec<&String> {
    found.into_iter().flatten().collect()
}
