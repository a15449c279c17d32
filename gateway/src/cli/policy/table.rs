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

/// Fields between semicolons, quoted where they must be (RFC 4180), behind a byte order mark.
pub fn csv(head: &[String], rows: &[Vec<String>]) -> String {
    let cell = |cell: &String| {
        // A spreadsheet would run what begins like a formula; a lone `-` is not one.
        let is_formula = cell.starts_with(['=', '+', '@', '-']) && cell.len() > 1;
        let text = if is_formula { format!("'{cell}") } else { cell.clone() };
        if text.contains([';', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
    };
    let line = |row: &[String]| row.iter().map(cell).collect::<Vec<_>>().join(";") + "\r\n";
    format!("\u{feff}{}{}", line(head), rows.iter().map(|row| line(row)).collect::<String>())
}

/// One page without anything from elsewhere. The head stays in view, the first column names its row for screen readers,
/// and nothing is told by colour alone.
pub fn html(caption: &str, head: &[String], rows: &[Vec<String>]) -> String {
    let title = escaped(caption);
    let head: String = head.iter().map(|cell| format!("<th scope=\"col\">{}</th>", escaped(cell))).collect();
    let row = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(at, cell)| match (at, cell.as_str()) {
            (0, cell) => format!("<th scope=\"row\">{}</th>", escaped(cell)),
            (_, "-") => "<td class=\"no\">non esce</td>".to_owned(),
            (_, cell) => format!("<td>{}</td>", escaped(cell)),
        });
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let body: String = rows.iter().map(row).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"it\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1 id=\"title\">{title}</h1>\n\
         <div class=\"wide\" role=\"region\" aria-labelledby=\"title\" tabindex=\"0\">\n<table>\n\
         <thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>\n</main>\n</body>\n</html>\n"
    )
}

const STYLE: &str = "\
    body{font:16px/1.45 system-ui,sans-serif;color:#17202a;background:#fff;margin:0}\
    main{padding:1.5rem}h1{font-size:1.4rem;margin:0 0 1rem}\
    .wide{overflow:auto;max-height:85vh;border:1px solid #b3bfcc}.wide:focus-visible{outline:3px solid #0066cc}\
    table{border-collapse:collapse;font-size:.9rem}\
    th,td{padding:.35rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid #d5dde5}\
    thead th{position:sticky;top:0;background:#e6ecf2}tbody th{font-weight:600;white-space:nowrap}\
    .no{color:#5a6772}tbody tr:nth-child(even){background:#f6f8fa}\
    @media print{.wide{overflow:visible;max-height:none;border:0}thead th{position:static}main{padding:0}}";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(row: &[&str]) -> Vec<String> {
        row.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn csv_quotes_separators_and_disarms_formulas() {
        let text = csv(&words(&["a;b", "c"]), &[words(&["=1+1", "-"]), words(&["di \"lui\"", "x"])]);
        assert_eq!(text, "\u{feff}\"a;b\";c\r\n'=1+1;-\r\n\"di \"\"lui\"\"\";x\r\n");
    }

    #[test]
    fn a_page_escapes_what_it_shows_and_says_in_words_what_does_not_leave() {
        let page = html("A & B", &words(&["<campo>", "chi"]), &[words(&["x", "-"])]);
        assert!(page.contains("<title>A &amp; B</title>") && page.contains("&lt;campo&gt;"));
        assert!(page.contains("<th scope=\"row\">x</th><td class=\"no\">non esce</td>"));
    }
}
