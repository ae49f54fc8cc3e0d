//! The layers of `src/`: imports run downwards, and files import each other without circles.
//!
//! 1. A file imports from its own layer or from a lower one ([`LAYERS`], lowest first).
//! 2. Files do not import each other in a circle. A module that re-exports its children with `pub use`
//!    does not import them by that.
//! 3. A file of a layer folder does not import from the facade above it ([`FACADES`]), which re-exports
//!    from everywhere: it names the file of the item.
//!
//! Test modules are not checked. The test reads the sources only, with its own small parser of paths.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each layer, lowest first, by the start of its paths under `src/`. The longest start counts.
const LAYERS: &[&[&str]] = &[
    &["sync", "unwind", "list", "arena", "prefetch"],
    &["clock", "wake"],
    &["wait", "quota", "backoff", "observe"],
    &["limiter/core"],
    &["limiter/shell"],
    &["limiter/ops"],
    &["limiter/keyed/core"],
    &["limiter/keyed/shell"],
    &["limiter/keyed/ops"],
    &["limiter/keyed"],
    &["limiter"],
    &["queue/core"],
    &["queue/shell"],
    &["queue/ops"],
    &["queue"],
    &["controller"],
    &["integrations", "guide", "lib"],
];

/// Modules that hold nothing of their own.
const FACADES: &[&str] = &["lib", "limiter", "limiter/keyed", "queue"];

/// A file of `src/`, by its module's path: `limiter/core/rate`.
type Module = String;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file, without comments and from before its test modules.
fn code(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        if line.starts_with("#[cfg(all(test") || line.starts_with("#[cfg(test)]") {
            break;
        }
        let line = line.split("//").next().unwrap();
        code.push_str(line);
        code.push('\n');
    }
    code
}

/// The paths that begin with `crate` or `super` in `text`, with groups in braces spelt out.
fn paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("use ")) {
        let path = line.trim_start_matches("use ");
        if !["crate::", "super::", "self::", "::"]
            .iter()
            .any(|start| path.starts_with(start))
        {
            expand(
                &format!("self::{}", path.trim_end_matches(';')),
                String::new(),
                &mut found,
            );
        }
    }
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(start) {
            let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
            if text[line..].starts_with("pub use ") || text[line..].starts_with("pub(crate) use ") {
                continue;
            }
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            expand(&text[at..], String::new(), &mut found);
        }
    }
    found
}

/// Reads one path with its groups; returns how much of `text` it has read.
fn expand(text: &str, mut prefix: String, found: &mut Vec<String>) -> usize {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let name: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        at += name.len();
        prefix.push_str(&name);
        if !text[at..].starts_with("::") || name.is_empty() {
            found.push(prefix);
            return at;
        }
        at += 2;
        prefix.push_str("::");
        if text[at..].starts_with('{') {
            at += 1;
            loop {
                at += text[at..].len() - text[at..].trim_start().len();
                if text[at..].starts_with('}') {
                    return at + 1;
                }
                let read = expand(&text[at..], prefix.clone(), found);
                at += read.max(1);
                if let Some(end) = text[at..].find([',', '}']) {
                    at += end + usize::from(text[at + end..].starts_with(','));
                } else {
                    return at;
                }
            }
        }
    }
}

/// The file that a path names, seen from `module`.
fn file_of(path: &str, module: &str, modules: &BTreeSet<Module>) -> Option<Module> {
    let mut at: Vec<&str> = module.split('/').collect();
    let mut names = path.split("::").peekable();
    match names.next()? {
        "crate" => at.clear(),
        // Of a module within the file.
        "super" if at.len() == 1 => {}
        "super" => {
            at.pop();
            while names.next_if_eq(&"super").is_some() {
                at.pop();
            }
        }
        _ => {}
    }
    for name in names {
        at.push(name);
        if !modules.contains(&at.join("/")) {
            at.pop();
            break;
        }
    }
    let file = if at.is_empty() {
        "lib".to_owned()
    } else {
        at.join("/")
    };
    (file != module).then_some(file)
}

fn layer(module: &str) -> usize {
    let starts = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(at, layer)| layer.iter().map(move |start| (at, *start)));
    let of =
        starts.filter(|(_, start)| module == *start || module.starts_with(&format!("{start}/")));
    of.max_by_key(|(_, start)| start.len())
        .unwrap_or_else(|| panic!("{module} is in no layer"))
        .0
}

/// Whether `from` reaches `to`, and by which files.
fn route(
    imports: &BTreeMap<Module, BTreeSet<Module>>,
    from: &str,
    to: &str,
) -> Option<Vec<Module>> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![vec![from.to_owned()]]);
    while let Some(way) = open.pop() {
        let last = way.last().unwrap().clone();
        for next in imports.get(&last).into_iter().flatten() {
            if next == to {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                open.push(way.iter().cloned().chain([next.clone()]).collect());
            }
        }
    }
    None
}

#[test]
fn imports_run_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let name = |path: &PathBuf| {
        let path = path.strip_prefix(&root).unwrap().with_extension("");
        path.to_str().unwrap().replace('\\', "/")
    };
    let modules: BTreeSet<Module> = files.iter().map(name).collect();
    let mut imports = BTreeMap::<Module, BTreeSet<Module>>::new();
    for path in &files {
        let module = name(path);
        let is_test = module.ends_with("tests") || module.ends_with("_model");
        if is_test || module == "lib" {
            continue;
        }
        let text = code(&fs::read_to_string(path).unwrap());
        let found = paths(&text)
            .into_iter()
            .filter_map(|path| file_of(&path, &module, &modules));
        imports.entry(module.clone()).or_default().extend(found);
    }
    let mut wrong = Vec::new();
    for (module, targets) in &imports {
        for target in targets {
            let of_it = module.starts_with(&format!("{target}/")) || target == "lib";
            let of_it = of_it && FACADES.contains(&target.as_str());
            // A facade names the files of its folder.
            let its_own = target.starts_with(&format!("{module}/"));
            if of_it {
                wrong.push(format!("{module} imports from the facade {target}"));
            } else if !its_own && layer(target) > layer(module) {
                wrong.push(format!("{module} imports upwards, from {target}"));
            } else if let Some(way) = route(&imports, target, module)
                && target < module
            {
                wrong.push(format!("a circle: {module}, {}", way.join(", ")));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} imports:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
