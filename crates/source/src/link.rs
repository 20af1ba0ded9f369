//! The header `Link` (RFC 8288).

/// The target of the link whose relation is `next`.
pub(crate) fn next(header: &str) -> Option<&str> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, after) = after.split_once('>')?;
        let (parameters, after) = parameters(after);
        if parameters.iter().any(|p| is_next(p)) {
            return Some(target.trim());
        }
        rest = after;
    }
    None
}

/// A link's parameters, and what comes behind them. A comma or semicolon may stand in quotes.
fn parameters(text: &str) -> (Vec<&str>, &str) {
    let (mut parameters, mut start, mut quoted) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ';' | ',' if !quoted => {
                parameters.push(&text[start..i]);
                start = i + 1;
                if c == ',' {
                    return (parameters, &text[start..]);
                }
            }
            _ => {}
        }
    }
    parameters.push(&text[start..]);
    (parameters, "")
}

fn is_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let value = value.trim().trim_matches('"');
    name.trim().eq_ignore_ascii_case("rel")
        && value.split_whitespace().any(|rel| rel.eq_ignore_ascii_case("next"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_link_among_others() {
        for (header, target) in [
            ("<https://h/x?page=2>; rel=\"next\"", Some("https://h/x?page=2")),
            (
                "<https://h/x?a=1,2>; rel=prev, </x?page=3> ; title=\"a, b; c\"; REL=\"last Next\"",
                Some("/x?page=3"),
            ),
            ("<https://h/1>; rel=next;x=y", Some("https://h/1")),
            ("<https://h/1>; rel=\"prev\", <https://h/9>; rel=last", None),
            ("<https://h/1>; xrel=next", None),
            ("<https://h/1", None),
            ("", None),
        ] {
            assert_eq!(next(header), target, "{header}");
        }
    }
}
