//! A blocklist from files: where they are, and the guardrail made of them.

use std::path::Path;

use anyhow::{Context, ensure};

use super::guard::{TextGuardrail, Verdict};
use super::rules::blocklist::{Blocklist, Match};

/// A blocklist, and how near is near enough.
pub struct WordList {
    list: Blocklist,
    near: Match,
}

/// Bytes of all lists: a list of every word of a language is smaller.
const BYTES_MAX: u64 = 16 << 20;

impl WordList {
    /// The lists at `path`. A file is one list, with an entry in each line. A folder has folders of such files:
    /// `exact_match` (found as whole words, and nearly so), `custom` (found as whole words alone) and `whitelist` (not
    /// in `custom` after all).
    ///
    /// # Errors
    /// If nothing can be read there, or it holds no entry: a list that blocks nothing would look like protection.
    pub fn read(path: &Path, near: Match) -> anyhow::Result<WordList> {
        let named = || format!("the blocklist {}", path.display());
        let mut left = BYTES_MAX;
        let kind = std::fs::metadata(path).with_context(named)?;
        let (entries, custom, allowed) = if kind.is_dir() {
            let mut lists = |name: &str| texts(&path.join(name), &mut left);
            (lists("exact_match")?, lists("custom")?, lists("whitelist")?)
        } else {
            (vec![text(path, &mut left)?], Vec::new(), Vec::new())
        };
        let list = Blocklist::new(lines(&entries), lines(&custom), lines(&allowed));
        ensure!(
            !list.is_empty(),
            "{} has no entry: a file with one a line, or a folder with the folders exact_match, custom and whitelist",
            named()
        );
        Ok(WordList { list, near })
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Has it none? It never has.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// The files of a folder, in the order of their names. A folder that is not there has none.
fn texts(folder: &Path, left: &mut u64) -> anyhow::Result<Vec<String>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let named = || folder.display().to_string();
    let files = std::fs::read_dir(folder).with_context(named)?.map(|entry| Ok(entry?.path()));
    let mut files = files.collect::<std::io::Result<Vec<_>>>().with_context(named)?;
    files.retain(|path| path.is_file());
    files.sort();
    files.iter().map(|path| text(path, left)).collect()
}

fn text(path: &Path, left: &mut u64) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    *left = left
        .checked_sub(text.len() as u64)
        .with_context(|| format!("{}: the lists are longer than {} MiB together", path.display(), BYTES_MAX >> 20))?;
    Ok(text)
}

fn lines(texts: &[String]) -> impl Iterator<Item = &str> {
    texts.iter().flat_map(|text| text.lines())
}

impl TextGuardrail for WordList {
    fn name(&self) -> &'static str {
        "blocklist"
    }

    fn check(&self, prompt: &str) -> Verdict {
        match self.list.find(prompt, self.near) {
            None => Verdict::Allow,
            Some(found) if found.ratio == 1.0 => Verdict::Block { code: "word".into() },
            Some(_) => Verdict::Block { code: "nearly a word".into() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn blocks(list: &WordList, prompt: &str) -> bool {
        list.check(prompt) != Verdict::Allow
    }

    #[test]
    fn a_file_is_one_list_and_a_folder_is_three() {
        let dir = Scratch::new();
        let file = dir.path("words.txt");
        std::fs::write(&file, "poison\n\n  nerve agent  \r\n").expect("a file");
        let list = WordList::read(&file, Match::default()).expect("a list");
        assert_eq!(list.len(), 2);
        assert!(blocks(&list, "a nerve  agent") && !blocks(&list, "a quiet meadow"));

        let folder = dir.path("lists");
        for (name, words) in [("exact_match/a.txt", "poison"), ("custom/b", "hell\ndamn"), ("whitelist/c", "hell")] {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().expect("inside")).expect("a folder");
            std::fs::write(path, words).expect("a file");
        }
        let list = WordList::read(&folder, Match::Near { characters_min: 4, differ: 0.5 }).expect("lists");
        assert!(blocks(&list, "poisons") && blocks(&list, "damn") && !blocks(&list, "damns") && !blocks(&list, "hell"));
    }

    #[test]
    fn a_list_without_an_entry_is_an_error_and_no_guardrail() {
        let dir = Scratch::new();
        let error = |path: &Path| format!("{:#}", WordList::read(path, Match::Exact).err().expect("no list"));
        assert!(error(&dir.path("nothing")).contains("the blocklist"));
        assert!(error(&dir.folder).contains("has no entry"));
        let file = dir.path("empty.txt");
        std::fs::write(&file, "\n \n").expect("a file");
        assert!(error(&file).contains("has no entry"));
        std::fs::write(&file, [0xff, 0xfe]).expect("a file");
        assert!(error(&file).contains("empty.txt"));
    }
}
