//! The format of the files of places: a line a rule, `MEANING FUNCTION [FILE]`; `[native]` and `[python]` say of
//! which language the functions below are, `[java]` that they are classes; `#` begins a comment.

use super::Meaning;

/// Whose functions a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Language {
    /// Compiled code: names in parts between `::`; a file is the beginning of the module's name.
    Native,
    /// Python: names in parts between dots; a file is the end of the source file's path.
    Python,
    /// Java: the class of the object that a thread is parked on, or one of its parents.
    Java,
}

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) language: Language,
    pub(super) meaning: Meaning,
    /// The function; with a `*` behind it the beginning of its name.
    pub(super) name: &'static str,
    pub(super) file: Option<&'static str>,
}

impl Rule {
    /// Whether a function has this name: the whole of it, or its last parts where the rule has several.
    pub(super) fn is_of(&self, name: &str, file: Option<&str>) -> bool {
        if !self.is_in(file) {
            return false;
        }
        match self.language {
            Language::Native => {
                name == self.name || (self.name.contains("::") && ends(name, self.name, "::"))
            }
            // Before 3.11 a frame has the last part of its name alone: the file has to tell.
            Language::Java => name == self.name,
            Language::Python => {
                name == self.name
                    || ends(name, self.name, ".")
                    || (self.file.is_some() && ends(self.name, name, "."))
            }
        }
    }

    /// Whether a function's name begins as this rule says.
    pub(super) fn begins(&self, name: &str, language: Language, file: Option<&str>) -> bool {
        let Some(beginning) = self.name.strip_suffix('*') else {
            return false;
        };
        language == self.language && name.starts_with(beginning) && self.is_in(file)
    }

    fn is_in(&self, file: Option<&str>) -> bool {
        let (Some(wanted), language) = (self.file, self.language) else {
            return true;
        };
        file.is_some_and(|file| match language {
            Language::Native => file.rsplit('/').next().unwrap_or(file).starts_with(wanted),
            Language::Python => file == wanted || ends(file, wanted, "/"),
            Language::Java => false,
        })
    }
}

/// Whether `text` ends with `end`, at a border between parts.
fn ends(text: &str, end: &str, border: &str) -> bool {
    let rest = text.strip_suffix(end);
    rest.is_some_and(|rest| rest.ends_with(border))
}

/// The rules of a file, or what is wrong with a line.
pub(super) fn rules(text: &'static str) -> impl Iterator<Item = Result<Rule, String>> {
    let mut language = None;
    let lines = text.lines().enumerate();
    lines.filter_map(move |(number, line)| {
        let line = line.split('#').next().unwrap_or("").trim();
        match line {
            "" => return None,
            "[native]" => language = Some(Language::Native),
            "[python]" => language = Some(Language::Python),
            "[java]" => language = Some(Language::Java),
            _ => {
                let parsed = rule(line, language);
                return Some(parsed.map_err(|why| format!("line {}: {why}", number + 1)));
            }
        }
        None
    })
}

fn rule(line: &'static str, language: Option<Language>) -> Result<Rule, String> {
    let language = language.ok_or("[native], [python] or [java] has to stand above it")?;
    let mut words = line.split_whitespace();
    let (Some(meaning), Some(name), file, None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("it is not MEANING FUNCTION [FILE]".to_owned());
    };
    let known = Meaning::of_word(meaning);
    let meaning = known.ok_or_else(|| format!("{meaning} is no meaning"))?;
    if name.find('*').is_some_and(|at| at + 1 != name.len()) {
        return Err("a * stands at the end of a name".to_owned());
    }
    Ok(Rule {
        language,
        meaning,
        name,
        file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::FILES;
    use std::collections::HashSet;

    #[test]
    fn every_line_of_every_file_is_a_rule_and_none_stands_twice() {
        for (file, text) in FILES {
            let mut seen = HashSet::new();
            for rule in rules(text) {
                let rule = rule.unwrap_or_else(|why| panic!("{file}.places, {why}"));
                let key = (rule.language, rule.name, rule.file);
                assert!(seen.insert(key), "{file}.places: {} twice", rule.name);
            }
            assert!(!seen.is_empty(), "{file}");
        }
    }

    #[test]
    fn what_is_no_rule_is_said() {
        let wrong = [
            ("lock f", "above it"),
            ("[native]\nlock", "MEANING FUNCTION"),
            ("[native]\nblock f", "no meaning"),
            ("[python]\nlock a*b", "end of a name"),
            ("[python]\nlock a b c", "MEANING FUNCTION"),
        ];
        for (text, why) in wrong {
            let said = rules(text).find_map(Result::err).expect(text);
            assert!(said.contains(why), "{text}: {said}");
        }
        assert_eq!(rules("# lock f\n\n").count(), 0);
    }
}
