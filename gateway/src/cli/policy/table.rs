//! Tables of text that fit their contents.

use varco_core::policy::questions::Effect;

/// Columns as wide as their widest cell, two spaces apart.
pub fn text(head: &[String], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(Vec::as_slice).chain([head]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| {
            let air = width.saturating_sub(cell.chars().count());
            format!("{cell}{}", " ".repeat(air))
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
    line(head) + &line(&rule) + &rows.iter().map(|row| line(row)).collect::<String>()
}

/// A cell: its view, and in brackets what it asks for.
pub fn effect(effect: &Effect) -> String {
    let view = match effect.view.as_str() {
        "withhold" => "-",
        view => view,
    };
    if effect.only_with.is_empty() {
        view.to_owned()
    } else {
        format!("{view} ({})", effect.only_with.join(", "))
    }
}
