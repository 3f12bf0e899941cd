//! `LIKE` patterns in their parts, for those who must say the same in other words: text indexes of files, ClickHouse.

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// This text.
    Text(String),
    /// `%`: any text.
    Any,
    /// `_`: any one character.
    One,
    /// An escape before an ordinary character: engines differ on whether it is a character itself.
    Unclear,
}

/// The parts of `pattern`; neighbouring characters are one text.
pub(crate) fn parts(pattern: &str, escape: char) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        let literal = match letter {
            '%' => Err(Part::Any),
            '_' => Err(Part::One),
            _ if letter == escape => match letters.next() {
                Some(escaped) if matches!(escaped, '%' | '_') || escaped == escape => Ok(escaped),
                _ => Err(Part::Unclear),
            },
            _ => Ok(letter),
        };
        match (literal, parts.last_mut()) {
            (Ok(letter), Some(Part::Text(text))) => text.push(letter),
            (Ok(letter), _) => parts.push(Part::Text(letter.into())),
            (Err(part), _) => parts.push(part),
        }
    }
    parts
}

/// The texts between the wildcards of a pattern.
pub(crate) fn texts(pattern: &str, escape: char) -> Vec<String> {
    let text = |part| if let Part::Text(text) = part { Some(text) } else { None };
    parts(pattern, escape).into_iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_part_a_pattern_unless_escaped() {
        let text = |text: &str| Part::Text(text.to_owned());
        let expected = [Part::Any, text("100% of"), Part::One, text(r"_x\y"), Part::Unclear];
        assert_eq!(parts(r"%100\% of_\_x\\y\z", '\\'), expected);
        assert_eq!(texts(r"%100\% of_\_x\\y\zed", '\\'), ["100% of", r"_x\y", "ed"]);
        assert_eq!(parts(r"ends \", '\\'), [text("ends "), Part::Unclear]);
        assert_eq!(texts("a!%b", '!'), ["a%b"]);
        assert!(parts("", '\\').is_empty());
    }
}
