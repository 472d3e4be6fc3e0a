//! `causeway check`: a GPU held to this machine's processor, operation by operation, then with a model; as a table and as JSON.

use std::fmt::{self, Display};
use std::time::Duration;

use pipeline::Device;
use pipeline::check::{self, Choice, Chunk, Part, Row, Scale};
use pipeline::load::model_dir::ModelDir;
use serde_json::{Value, json};

/// What was found.
pub struct Report {
    /// `causeway` and its version.
    program: String,
    /// The device, as the driver describes it.
    device: String,
    rows: Vec<Row>,
    /// What was found of NVIDIA's libraries.
    libraries: String,
    products: Vec<Choice>,
    model: Option<Model>,
}

/// What was found of a model.
struct Model {
    name: String,
    blocks: Vec<Part>,
    chunk: Chunk,
}

impl Report {
    /// Runs every operation on `device`, a GPU. `tell` is given each line as soon as it is known.
    pub fn of(
        device: &Device,
        scale: Scale,
        program: String,
        tell: &mut dyn FnMut(&dyn Display),
    ) -> anyhow::Result<Report> {
        let rows = check::check(device, scale, |row| tell(row)).map_err(anyhow::Error::msg)?;
        let products = check::products(device, scale).map_err(anyhow::Error::msg)?;
        products.iter().for_each(|choice| tell(choice));
        let about = device.about().map(ToString::to_string).unwrap_or_default();
        let libraries = device.libraries().unwrap_or_default();
        Ok(Report { program, device: format!("{device}: {about}"), rows, libraries, products, model: None })
    }

    /// Then blocks of the model in `dir`, and a chunk.
    pub fn and_model(
        mut self,
        dir: &ModelDir,
        device: &Device,
        tell: &mut dyn FnMut(&dyn Display),
    ) -> anyhow::Result<Report> {
        let blocks = check::blocks(dir, device, |part| tell(part))?;
        let known = self.products.len();
        let chunk = check::chunk(dir, device)?;
        self.products = device.products();
        self.products[known..].iter().for_each(|choice| tell(choice));
        tell(&chunk);
        self.model = Some(Model { name: dir.name().to_owned(), blocks, chunk });
        Ok(self)
    }

    /// Does the device give what the processor gives, in everything?
    pub fn agrees(&self) -> bool {
        let of_model = |model: &Model| model.blocks.iter().all(Part::agrees) && model.chunk.agrees();
        self.rows.iter().all(Row::agrees) && self.model.as_ref().is_none_or(of_model)
    }

    /// What a maintainer needs.
    pub fn to_json(&self) -> Value {
        // Infinity has no JSON: it stands for numbers that are none.
        let finite = |number: f64| number.is_finite().then_some(number);
        let rows = self.rows.iter().map(|row| {
            json!({
                "operation": row.operation,
                "shape": row.shape,
                "agrees": row.agrees(),
                "worst": finite(row.worst),
                "ms": row.time.as_secs_f64() * 1e3,
                "operations": row.operations,
            })
        });
        let mut report = json!({
            "program": self.program,
            "device": self.device,
            "agrees": self.agrees(),
            "rows": rows.collect::<Vec<_>>(),
            "libraries": self.libraries,
            "products": self.products.iter().map(of_choice).collect::<Vec<_>>(),
        });
        if let Some(Model { name, blocks, chunk }) = &self.model {
            let blocks = blocks.iter().map(|part| {
                json!({
                    "name": part.name,
                    "shape": part.shape,
                    "agrees": part.agrees(),
                    "off": finite(part.off),
                    "bound": part.bound,
                    "ms": part.time.as_secs_f64() * 1e3,
                })
            });
            report["model"] = json!({
                "name": name,
                "blocks": blocks.collect::<Vec<_>>(),
                "chunk": {
                    "shape": chunk.shape,
                    "agrees": chunk.agrees(),
                    "frames": chunk.frames,
                    "ms": chunk.took.as_secs_f64() * 1e3,
                    "transformer_ms": chunk.timings.dit.as_secs_f64() * 1e3,
                    "decoder_ms": chunk.timings.vae.as_secs_f64() * 1e3,
                    "psnr": chunk.psnr.and_then(finite),
                },
            });
        }
        report
    }
}

fn of_choice(choice: &Choice) -> Value {
    let Choice { rows, inputs, outputs, ending, ours, library } = choice;
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    json!({
        "shape": [rows, inputs, outputs],
        "ending": ending,
        "computed_by": if choice.is_library() { "cuBLASLt" } else { "ours" },
        "ours_ms": ms(ours),
        "library_ms": library.as_ref().ok().map(ms),
        "refused": library.as_ref().err(),
    })
}

/// The last lines, below the rows.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agree = self.rows.iter().filter(|row| row.agrees()).count();
        write!(
            f,
            "{}\n{}\n{agree} of {} operations agree with the processor",
            self.device,
            self.libraries,
            self.rows.len()
        )?;
        if let Some(Model { name, blocks, .. }) = &self.model {
            let agree = blocks.iter().filter(|part| part.agrees()).count();
            write!(f, ", {agree} of {} blocks of {name}", blocks.len())?;
        }
        Ok(())
    }
}
