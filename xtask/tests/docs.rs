//! The documents name files and items of the source: all of them exist.

use std::fs;
use std::path::{Path, PathBuf};

/// Extensions of source files. Paths with other extensions are files of a store or of an example.
const EXTENSIONS: [&str; 8] = ["rs", "wit", "md", "toml", "js", "py", "csv", "yml"];

/// Paths in a folder that the reader makes.
const OF_THE_READER: [&str; 1] = ["src/lib.rs"];

/// The section of `docs/architecture.md` whose rows name items.
const INDEX: &str = "## Where to find";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).expect("the repository has documents");
    let docs = docs.map(|entry| entry.expect("the folder can be read").path());
    docs.filter(|file| file.extension().is_some_and(|extension| extension == "md"))
        .chain([root().join("README.md")])
        .collect()
}

/// What a line has between backticks.
fn code(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Where the links of a line lead, but for other sites and sections of the same page.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://"))
}

fn is_source_file(code: &str) -> bool {
    let extension = Path::new(code).extension().and_then(|extension| extension.to_str());
    code.contains('/')
        && !code.contains([' ', '*', '{', '<'])
        && !code.starts_with('/')
        && extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
        && !OF_THE_READER.contains(&code)
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[test]
fn every_path_in_the_documents_exists() {
    let (mut found, mut missing) = (0, Vec::new());
    for document in documents() {
        let folder = document.parent().expect("a file is in a folder");
        let name = document.file_name().expect("a file has a name").display();
        for (index, line) in read(&document).lines().enumerate() {
            let sources =
                code(line).filter(|code| is_source_file(code)).map(|path| (path, root().join(path)));
            let links = links(line).map(|target| (target, folder.join(target)));
            for (named, path) in sources.chain(links) {
                found += 1;
                if !path.exists() {
                    missing.push(format!("{name}:{}: {named}", index + 1));
                }
            }
        }
    }
    assert!(missing.is_empty(), "no such files:\n{}", missing.join("\n"));
    assert!(found > 40, "only {found} paths were found");
}

#[test]
fn every_item_of_the_index_is_in_its_file() {
    let text = read(&root().join("docs/architecture.md"));
    let index = text.split(INDEX).nth(1).expect("the document has an index");
    let index = index.split("\n## ").next().expect("a section has a text");
    let (mut found, mut missing) = (0, Vec::new());
    for row in index.lines().filter(|line| line.starts_with('|')) {
        // Each file is followed by its items.
        let mut source = String::new();
        for code in code(row) {
            if is_source_file(code) {
                source = fs::read_to_string(root().join(code)).unwrap_or_default();
                continue;
            }
            found += 1;
            let name = code.rsplit("::").next().unwrap_or(code);
            if !source.split(|character: char| !is_of_word(character)).any(|word| word == name) {
                missing.push(format!("`{code}` in the row {row}"));
            }
        }
    }
    assert!(missing.is_empty(), "items that are not in the file before them:\n{}", missing.join("\n"));
    assert!(found > 30, "only {found} items were found");
}
