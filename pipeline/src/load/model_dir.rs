//! Where the files of a model are: in a directory, or inside the binary.
//!
//! Two layouts are known. diffusers: `transformer/`, `vae/`, `text_encoder/`, `tokenizer/`. Wan and LingBot as first
//! published: the transformer in `transformers/` or `lingbot_world_fast/` (or its shards alone at the root), the rest as
//! files at the root. Pickles (`.pth`) are not read: a pickle is a program, and the one reader at hand skips what it does
//! not understand; the error says how to convert one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tokenizers::Tokenizer;

use super::error::LoadError;
use super::file::File;
use super::mapping::Bytes;
use crate::world::{GalleryItem, Words};

/// All that is read whole is JSON, a tokenizer (17 MB for UMT5-XXL) or a picture.
const READ_BYTES_MAX: u64 = 64 << 20;

/// The files of one model.
#[derive(Clone)]
pub struct ModelDir {
    name: String,
    source: Source,
}

#[derive(Clone)]
enum Source {
    Disk(PathBuf),
    Embedded(ReadEmbedded),
}

/// A file of an embedded model by its path: `vae/config.json`.
pub type ReadEmbedded = fn(&str) -> Option<Cow<'static, [u8]>>;

/// The networks of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The diffusion transformer.
    Transformer,
    /// The video autoencoder.
    Vae,
    /// What reads the prompt.
    TextEncoder,
}

/// How a directory is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A folder a network, as the diffusers library writes them.
    Diffusers,
    /// As LingBot and Wan were first published.
    Original,
    /// The diffusion transformer's shards and nothing else.
    TransformerOnly,
}

/// The files of one network, as paths inside the model directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFiles {
    /// `""` is the root.
    pub folder: String,
    /// Its `config.json`, where it has one.
    pub config: Option<String>,
    /// Says which shards there are; then `shards` is empty.
    pub index: Option<String>,
    /// Its safetensors files.
    pub shards: Vec<String>,
}

impl Component {
    /// All of them, in the order they are loaded.
    pub const ALL: [Component; 3] = [Component::Transformer, Component::Vae, Component::TextEncoder];

    /// Folders it may stand in, the published one first.
    fn folders(self) -> &'static [&'static str] {
        match self {
            Component::Transformer => &["transformer", "transformers", "lingbot_world_fast", ""],
            Component::Vae => &["vae", ""],
            Component::TextEncoder => &["text_encoder", ""],
        }
    }

    /// File names without ending. At the root only the first counts: there lie other networks' files too.
    fn stems(self, folder: &str) -> &'static [&'static str] {
        match (self, folder) {
            (Component::Transformer, "") => &["model", "diffusion_pytorch_model"],
            (Component::Vae, "") => &["Wan2.1_VAE"],
            (Component::TextEncoder, "") => &["models_t5_umt5-xxl-enc-bf16"],
            (Component::Transformer, _) => &["diffusion_pytorch_model", "model"],
            (Component::Vae, _) => &["diffusion_pytorch_model", "model", "Wan2.1_VAE"],
            (Component::TextEncoder, _) => &["model", "diffusion_pytorch_model", "models_t5_umt5-xxl-enc-bf16"],
        }
    }
}

impl ModelDir {
    /// A directory on disk.
    pub fn open(path: impl AsRef<Path>) -> Result<ModelDir, LoadError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(ModelDir { name, source: Source::Disk(path.to_owned()) }),
            Ok(_) => Err(LoadError::file(name, "not a directory: a model is a directory of several files")),
            Err(error) if error.kind() == ErrorKind::NotFound && is_hub_name(&name) => {
                let reason = format!("no such directory; to download it: hf download {name} --local-dir {name}");
                Err(LoadError::file(name, reason))
            }
            Err(error) => Err(LoadError::file(name, error)),
        }
    }

    /// Files that are part of the binary.
    pub fn embedded(name: impl Into<String>, read: ReadEmbedded) -> ModelDir {
        ModelDir { name: name.into(), source: Source::Embedded(read) }
    }

    /// The path it was opened with, or the name it was embedded under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole path, also where it was opened as `.` or through a link.
    pub fn full_name(&self) -> String {
        match &self.source {
            Source::Disk(root) => root.canonicalize().unwrap_or_else(|_| root.clone()).display().to_string(),
            Source::Embedded(_) => self.name.clone(),
        }
    }

    /// A file's name for people.
    pub fn show(&self, path: &str) -> String {
        join(&self.name, path)
    }

    /// Is there a file of this path?
    pub fn has(&self, path: &str) -> bool {
        match &self.source {
            Source::Disk(root) => root.join(path).is_file(),
            Source::Embedded(read) => read(path).is_some(),
        }
    }

    /// A small file, whole.
    pub fn read(&self, path: &str) -> Result<File, LoadError> {
        let name = self.show(path);
        let bytes = match &self.source {
            Source::Embedded(read) => read(path).ok_or_else(|| self.absent(path))?,
            Source::Disk(root) => {
                let full = root.join(path);
                let metadata = std::fs::metadata(&full).map_err(|error| LoadError::file(&name, error))?;
                if metadata.len() > READ_BYTES_MAX {
                    let reason = format!("{} bytes; at most {READ_BYTES_MAX} are read", metadata.len());
                    return Err(LoadError::file(name, reason));
                }
                std::fs::read(full).map_err(|error| LoadError::file(&name, error))?.into()
            }
        };
        Ok(File::new(name, bytes))
    }

    /// A file that may be larger than memory.
    pub(crate) fn map(&self, path: &str) -> Result<Bytes, LoadError> {
        match &self.source {
            Source::Embedded(read) => Ok(Bytes::Embedded(read(path).ok_or_else(|| self.absent(path))?)),
            Source::Disk(root) => std::fs::File::open(root.join(path))
                .and_then(|file| Bytes::map(&file))
                .map_err(|error| LoadError::file(self.show(path), error)),
        }
    }

    /// The files of one network.
    pub fn network(&self, component: Component) -> Result<NetworkFiles, LoadError> {
        let mut pickle = None;
        for folder in component.folders() {
            if let Some(files) = self.network_in(component, folder)? {
                return Ok(files);
            }
            let endings = ["pth", "pt", "bin"];
            let mut candidates = component
                .stems(folder)
                .iter()
                .chain(&["pytorch_model"])
                .flat_map(|stem| endings.iter().map(move |ending| join(folder, &format!("{stem}.{ending}"))));
            pickle = pickle.or_else(|| candidates.find(|path| self.has(path)));
        }
        if let Some(path) = pickle {
            let to = path.rsplit_once('.').map_or(path.as_str(), |(stem, _)| stem);
            let reason = format!(
                "a PyTorch pickle, which is not read; convert it once: python -c \"import torch, safetensors.torch as s; \
                 s.save_file({{k: v.contiguous() for k, v in torch.load('{path}', map_location='cpu').items()}}, \
                 '{to}.safetensors')\""
            );
            return Err(LoadError::file(self.show(&path), reason));
        }
        let looked: Vec<String> = component
            .folders()
            .iter()
            .map(|folder| join(folder, &format!("{}.safetensors", component.stems(folder)[0])))
            .collect();
        Err(LoadError::file(
            &self.name,
            format!("holds no {component}: looked for {} and for an index beside them", looked.join(", ")),
        ))
    }

    fn network_in(&self, component: Component, folder: &str) -> Result<Option<NetworkFiles>, LoadError> {
        let mut config = Some(join(folder, "config.json")).filter(|path| self.has(path));
        if folder.is_empty() && component != Component::Transformer {
            // A configuration at the root is the transformer's.
            config = None;
        }
        for stem in component.stems(folder) {
            let single = join(folder, &format!("{stem}.safetensors"));
            let index = format!("{single}.index.json");
            let (index, shards) = if self.has(&single) {
                (None, vec![single])
            } else if self.has(&index) {
                (Some(index), Vec::new())
            } else {
                (None, self.numbered_shards(folder, stem)?)
            };
            if index.is_some() || !shards.is_empty() {
                return Ok(Some(NetworkFiles { folder: folder.to_owned(), config, index, shards }));
            }
        }
        Ok(None)
    }

    /// `stem-00001-of-00007.safetensors` and so on, where no index lists them. A missing one shows as missing tensors.
    fn numbered_shards(&self, folder: &str, stem: &str) -> Result<Vec<String>, LoadError> {
        let Source::Disk(root) = &self.source else { return Ok(Vec::new()) };
        let full = root.join(folder);
        if !full.is_dir() {
            return Ok(Vec::new());
        }
        let mut shards = Vec::new();
        for entry in std::fs::read_dir(&full).map_err(|error| LoadError::file(self.show(folder), error))? {
            let name = entry.map_err(|error| LoadError::file(self.show(folder), error))?.file_name();
            let Some(name) = name.to_str() else { continue };
            let number = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(".safetensors"));
            if number.is_some_and(|number| number.starts_with('-') && number.contains("-of-")) {
                shards.push(join(folder, name));
            }
        }
        shards.sort();
        Ok(shards)
    }

    /// Told by where its transformer is.
    pub fn layout(&self) -> Result<Layout, LoadError> {
        Ok(match self.network(Component::Transformer)?.folder.as_str() {
            "transformer" => Layout::Diffusers,
            "" => Layout::TransformerOnly,
            _ => Layout::Original,
        })
    }

    /// The tokenizer's own `tokenizer.json`.
    pub fn tokenizer(&self) -> Result<File, LoadError> {
        let paths = ["tokenizer/tokenizer.json", "google/umt5-xxl/tokenizer.json"];
        match paths.into_iter().find(|path| self.has(path)) {
            Some(path) => self.read(path),
            None => Err(LoadError::file(&self.name, format!("holds no tokenizer: looked for {}", paths.join(" and ")))),
        }
    }

    /// `tokenizer/words.json`: what other words mean, where the tokenizer knows few.
    pub fn words(&self) -> Result<Option<Words>, LoadError> {
        const FILE: &str = "tokenizer/words.json";
        if !self.has(FILE) {
            return Ok(None);
        }
        let tokenizer = self.tokenizer()?;
        let refuse = |file: &str, reason: String| LoadError::file(self.show(file), reason);
        let known = Tokenizer::from_bytes(tokenizer.text()?)
            .map_err(|error| refuse("tokenizer/tokenizer.json", error.to_string()))?
            .get_vocab(false);
        let words = Words::new(self.read(FILE)?.json()?, known.into_keys());
        words.map(Some).map_err(|reason| refuse(FILE, reason))
    }

    /// `first_frames/`: pictures with prompts, where the model brings some.
    pub fn gallery(&self) -> Result<Vec<GalleryItem>, LoadError> {
        const LIST: &str = "first_frames/prompts.json";
        if !self.has(LIST) {
            return Ok(Vec::new());
        }
        #[derive(Deserialize)]
        struct Entry {
            prompt: String,
        }
        let entries: BTreeMap<String, Entry> = self.read(LIST)?.json()?;
        let item = |(name, Entry { prompt }): (String, Entry)| {
            if !is_file_name(&name) {
                return Err(LoadError::file(self.show(LIST), format!("{name:?} is not the name of a file beside it")));
            }
            let file = Arc::from(self.read(&join("first_frames", &name))?.picture()?);
            Ok(GalleryItem { name, prompt, file })
        };
        entries.into_iter().map(item).collect()
    }

    /// `presets.json`: a list of prompts to suggest, where the model brings one.
    pub fn presets(&self) -> Result<Vec<String>, LoadError> {
        const FILE: &str = "presets.json";
        // More would bury the page's own controls.
        const MOST: usize = 64;
        if !self.has(FILE) {
            return Ok(Vec::new());
        }
        let presets: Vec<String> = self.read(FILE)?.json()?;
        if presets.len() > MOST || presets.iter().any(|prompt| prompt.trim().is_empty()) {
            return Err(LoadError::file(
                self.show(FILE),
                format!("must list at most {MOST} prompts, none of them empty"),
            ));
        }
        Ok(presets)
    }

    fn absent(&self, path: &str) -> LoadError {
        LoadError::file(self.show(path), "not there")
    }
}

/// Is this how a model is called on Hugging Face, `owner/name`?
fn is_hub_name(name: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    name.split_once('/').is_some_and(|(owner, model)| is_part(owner) && is_part(model))
}

/// Does this name a file in the folder at hand, on every system, and nothing else?
pub(crate) fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(|c: char| "/\\:".contains(c) || c.is_control())
}

/// `folder/name`, or `name` at the root.
pub(crate) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() || name.is_empty() { format!("{folder}{name}") } else { format!("{folder}/{name}") }
}

impl fmt::Debug for ModelDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelDir({})", self.name)
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Component::Transformer => "transformer",
            Component::Vae => "vae",
            Component::TextEncoder => "text_encoder",
        })
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::Diffusers => "diffusers",
            Layout::Original => "original Wan/LingBot",
            Layout::TransformerOnly => "transformer only, original names",
        })
    }
}

#[cfg(test)]
mod tests;
