//! Reads any text as events, one a line: by walking over it, closely, and by the shape of the ones before it. All three say
//! the same, and what they take for an event is JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tallystick::domain::event::Event;
use tallystick::domain::event::Fault;
use tallystick::domain::event::Raw;
use tallystick::domain::shape::Shapes;

fuzz_target!(|text: &str| {
    let mut shapes = Shapes::default();
    // Twice, so that the shape of a line is known when it comes again.
    for line in text.lines().chain(text.lines()) {
        let closely = said(Event::parse_closely(line));
        assert_eq!(said(shapes.parse(line)), closely, "{line}");
        if let Some(walked) = Raw::walk(line).and_then(Raw::event) {
            assert_eq!(said(Ok(walked)), closely, "{line}");
        }
        assert!(closely.is_err() || serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
});

/// What an event says, however it was read.
fn said(event: Result<Event<'_>, Vec<Fault>>) -> Result<String, ()> {
    event.map(|event| format!("{:?}", Event { members: None, ..event })).map_err(|_| ())
}
