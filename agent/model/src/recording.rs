//! Captures kept for tests: what a real run saw, as one JSON document, and back.

use super::Capture;

/// A capture as JSON, in one line.
///
/// # Errors
/// It holds a number that JSON has no form for.
pub fn write(capture: &Capture) -> Result<String, serde_json::Error> {
    serde_json::to_string(capture)
}

/// A capture from JSON.
///
/// # Errors
/// The text is none.
pub fn read(text: &str) -> Result<Capture, serde_json::Error> {
    serde_json::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AgentLoss, Reason,
        fixture::{Builder, ms, socket},
    };

    #[test]
    fn a_capture_is_the_same_when_it_comes_back() {
        let mut builder = Builder::new(1, "kept");
        builder.samples(0, &["main", "p:pump@feed.py:41"], 3);
        builder.wait(0, Reason::Futex, &["main", "lock"], ms(40));
        builder.0.sockets.push(socket(1, 7));
        builder.0.losses.add(AgentLoss::MappingsUnreadable, 2);
        let capture = builder.finish();
        let text = write(&capture).expect("it is all numbers and names");
        let again = read(&text).expect("it was just written");
        assert_eq!(write(&again).expect("as before"), text);
        assert_eq!(
            format!("{:?}", again.stacks),
            format!("{:?}", capture.stacks)
        );
        assert!(read("{}").is_err());
    }
}
