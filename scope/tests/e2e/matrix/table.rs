//! The table in `docs/edges.md`, made of what the tests assert.

use std::fmt::Write as _;
use std::fs;

use super::ROWS;
use super::mode::Mode;
use super::row::Expect;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/edges.md");

/// What is between these lines is ours, the rest is prose.
const BEGIN: &str = "<!-- The table is written by the tests: `make edges`. -->\n";
const END: &str = "<!-- The end of the table. -->\n";

/// Asks for the page to be written instead of compared.
const ACCEPT: &str = "SCOPE_ACCEPT";

#[test]
fn the_table_in_the_docs_is_that_of_the_tests() {
    let page = fs::read_to_string(PAGE).expect("docs/edges.md is there");
    let (before, rest) = page.split_once(BEGIN).expect("docs/edges.md has the line that begins the table");
    let (_, after) = rest.split_once(END).expect("docs/edges.md has the line that ends the table");
    let wanted = format!("{before}{BEGIN}\n{}\n{END}{after}", table());
    if std::env::var_os(ACCEPT).is_some() {
        fs::write(PAGE, wanted).expect("docs/edges.md can be written");
    } else {
        assert!(page == wanted, "docs/edges.md is not what the tests assert: run `make edges`; it is now\n{}", table());
    }
}

/// The table, and the notes its cells refer to.
fn table() -> String {
    let mut notes = Vec::new();
    let titles = Mode::ALL.map(Mode::title).join(" | ");
    let mut text = format!("| who connects to whom | {titles} |\n| --- |{}\n", " --- |".repeat(Mode::ALL.len()));
    for case in ROWS.iter().flat_map(|row| row.cases) {
        let cells = Mode::ALL.map(|mode| cell(case.expect(mode), &mut notes)).join(" | ");
        let _ = writeln!(text, "| {} | {cells} |", case.what);
    }
    text.push('\n');
    for (number, note) in (1..).zip(&notes) {
        let _ = writeln!(text, "{number}. {}.", capitalised(note));
    }
    text
}

fn cell(expect: Expect, notes: &mut Vec<String>) -> String {
    match expect {
        Expect::Confirmed => "✓".to_owned(),
        Expect::OneSided { because } => format!("one end [{}]", note(because.to_owned(), notes)),
        Expect::Unseen { because, instead: [&[], _] } => format!("not seen [{}]", note(because.to_owned(), notes)),
        Expect::Unseen { because, instead: [instead, _] } => {
            let shown: Vec<_> = instead.iter().map(|(from, to)| format!("{from} → {to}")).collect();
            format!("not seen [{}]", note(format!("{because}; shown is {}", shown.join(", ")), notes))
        }
    }
}

/// The number of a note, the same for the same words.
fn note(words: String, notes: &mut Vec<String>) -> usize {
    let known = notes.iter().position(|note| *note == words);
    known.unwrap_or_else(|| {
        notes.push(words);
        notes.len() - 1
    }) + 1
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
