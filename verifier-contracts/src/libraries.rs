//! What contracts import of OpenZeppelin's package, out of the fetched tools.

use std::{collections::BTreeMap, fs};

use crate::{solc::CompileError, tools::Tools};

/// How sources name the package.
const PACKAGE: &str = "@openzeppelin/contracts/";

/// The package's sources that `sources` import, and those that these import, by the name that the compiler looks for.
///
/// # Errors
/// [`CompileError::Import`] for a source that the package does not have.
pub fn imported(tools: &Tools, sources: &[(&str, &str)]) -> Result<BTreeMap<String, String>, CompileError> {
    let mut found = BTreeMap::new();
    let mut open: Vec<String> = sources
        .iter()
        .flat_map(|(name, content)| imports(name, content))
        .collect();
    while let Some(name) = open.pop() {
        let Some(path) = name.strip_prefix(PACKAGE) else {
            continue;
        };
        if found.contains_key(&name) {
            continue;
        }
        let path = tools.openzeppelin().join(path);
        let content = fs::read_to_string(&path).map_err(|source| CompileError::Import {
            name: name.clone(),
            source,
        })?;
        open.extend(imports(&name, &content));
        found.insert(name, content);
    }
    Ok(found)
}

/// What a source imports, each with the name that the compiler gives it: relative paths from where the source is.
fn imports(name: &str, content: &str) -> Vec<String> {
    let statements = content.split(';').filter_map(|statement| {
        let statement = statement
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let statement = statement.collect::<Vec<_>>().join(" ");
        let import = statement.trim().strip_prefix("import ")?;
        let mut quoted = import.split(['"', '\'']);
        quoted.nth(1).map(str::to_owned)
    });
    statements.map(|path| resolved(name, &path)).collect()
}

fn resolved(from: &str, path: &str) -> String {
    if !path.starts_with('.') {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_found_from_where_the_source_is() {
        let source = "// import {X} from \"./X.sol\";\npragma solidity 0.8.37;\nimport {\n    A,\n    B\n} from \"../A.sol\";\n\
                      import './B.sol';\nimport {C} from \"@openzeppelin/contracts/C.sol\";\ncontract D { string s = \"./E.sol\"; }";
        assert_eq!(
            imports("a/b/D.sol", source),
            ["a/A.sol", "a/b/B.sol", "@openzeppelin/contracts/C.sol"]
        );
    }
}
