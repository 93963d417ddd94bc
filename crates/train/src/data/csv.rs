//! Comma-separated values as RFC 4180 writes them: quoted fields, doubled quotes, line breaks within quotes.

/// One row: the line that it starts on (from 1), and its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub line: usize,
    pub fields: Vec<String>,
}

/// The rows of a text. A quote that is never closed ends with the text; empty lines are no rows.
pub fn rows(text: &str) -> Vec<Row> {
    let (mut rows, mut fields, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut start, mut quoted) = (1, 1, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\n' {
            line += 1;
        }
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                end_row(&mut rows, &mut fields, &mut field, start);
                start = line;
            }
            other => field.push(other),
        }
    }
    end_row(&mut rows, &mut fields, &mut field, start);
    rows
}

fn end_row(rows: &mut Vec<Row>, fields: &mut Vec<String>, field: &mut String, line: usize) {
    if !fields.is_empty() || !field.is_empty() {
        fields.push(std::mem::take(field));
        rows.push(Row { line, fields: std::mem::take(fields) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_line_breaks_and_line_numbers() {
        let read = rows("mr,ref\r\n\"a, b\",\"say \"\"hi\"\"\nthere\"\r\n\nplain,x\"y");
        let expected = [(1, ["mr", "ref"]), (2, ["a, b", "say \"hi\"\nthere"]), (5, ["plain", "x\"y"])];
        let expected = expected.map(|(line, fields)| Row { line, fields: fields.map(str::to_owned).to_vec() });
        assert_eq!(read, expected);
    }
}
