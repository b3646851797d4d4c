//! Names of secrets as a tree of folders.

use std::collections::BTreeMap;

/// What has one name: a secret, a folder, or both.
#[derive(Default)]
struct Node<'a> {
    is_secret: bool,
    inside: BTreeMap<&'a str, Node<'a>>,
}

/// One line for each secret and folder; what is only a folder ends in `/`.
pub(super) fn draw(names: &[&str]) -> String {
    let mut root = Node::default();
    for name in names {
        let mut node = &mut root;
        for part in name.split('/') {
            node = node.inside.entry(part).or_default();
        }
        node.is_secret = true;
    }
    let mut text = String::new();
    for (name, node) in &root.inside {
        text.push_str(&label(name, node));
        draw_inside(node, "", &mut text);
    }
    text
}

/// As deep as a name has parts, of which there are at most 128.
fn draw_inside(node: &Node, indent: &str, text: &mut String) {
    let last = node.inside.len().saturating_sub(1);
    for (number, (name, inner)) in node.inside.iter().enumerate() {
        let (branch, below) = if number == last {
            ("└── ", "    ")
        } else {
            ("├── ", "│   ")
        };
        text.push_str(&format!("{indent}{branch}{}", label(name, inner)));
        draw_inside(inner, &format!("{indent}{below}"), text);
    }
}

fn label(name: &str, node: &Node) -> String {
    let folder = if node.is_secret { "" } else { "/" };
    format!("{name}{folder}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_hold_what_is_named_after_them() {
        let names = ["API_KEY", "aws", "aws/a/key", "aws/b", "db/x/y", "db/z"];
        let tree = "\
API_KEY
aws
├── a/
│   └── key
└── b
db/
├── x/
│   └── y
└── z
";
        assert_eq!(draw(&names), tree);
        assert_eq!(draw(&[]), "");
    }
}
