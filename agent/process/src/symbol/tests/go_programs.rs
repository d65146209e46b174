//! Go programs without a symbol table, as they are shipped.

use super::specimen::{Running, compile};
use super::*;

/// Prints the address of a method, and waits for the end of its input.
const GO: &str = r#"
package main

import (
	"fmt"
	"os"
	"reflect"
)

type shark struct{ teeth int }

//go:noinline
func (s *shark) findMe() { s.teeth++ }

func main() {
	fmt.Printf("%#x\n", reflect.ValueOf((*shark).findMe).Pointer())
	fish, buffer := &shark{}, make([]byte, 1)
	for {
		if n, _ := os.Stdin.Read(buffer); n == 0 {
			return
		}
		fish.findMe()
	}
}
"#;

/// Linked by Go or by the system's linker, at a fixed place or at any: each keeps the table, and
/// the beginning of the code, elsewhere.
#[test]
fn stripped_programs_have_names() {
    let fixed = ["-ldflags=-s -w", "-buildmode=exe"];
    let anywhere = ["-ldflags=-s -w", "-buildmode=pie"];
    let fixed_external = ["-ldflags=-s -w -linkmode=external", "-buildmode=exe"];
    let anywhere_external = ["-ldflags=-s -w -linkmode=external", "-buildmode=pie"];
    for flags in [fixed, anywhere, fixed_external, anywhere_external] {
        let Some((_folder, program)) = compile("go", GO, &flags) else {
            return;
        };
        let running = Running::start(&program);
        let mut symbolizer = Symbolizer::new(Limits::default());
        let stack = symbolize(
            &mut symbolizer,
            &snapshot(running.pid()),
            &[running.address],
        );
        let frame = &stack.frames[0];
        let found = (&*frame.name, frame.named);
        assert_eq!(found, ("main.(*shark).findMe", true), "{flags:?}");
        assert_eq!(symbolizer.losses(), crate::symbol::SymbolLosses::default());
    }
}

/// What the linker of Go 1.26 does differently: no word in the table's header, and the beginning of
/// the code in the module's description.
const AS_GO_1_26: &str = "
set -e
objcopy --dump-section .gopclntab=table prog copy
dd if=/dev/zero of=module bs=8 count=22
dd if=table bs=8 skip=3 count=1 >> module
dd if=/dev/zero of=table bs=8 seek=3 count=1 conv=notrunc
objcopy --update-section .gopclntab=table prog without
objcopy --add-section .go.module=module without with
";

#[test]
fn the_code_begins_where_the_module_or_its_section_does() {
    let internal = ["-ldflags=-s -w", "-buildmode=exe"];
    // There is code of C in front.
    let external = ["-ldflags=-s -w -linkmode=external", "-buildmode=exe"];
    for (flags, section_suffices) in [(internal, true), (external, false)] {
        let Some((folder, program)) = compile("go", GO, &flags) else {
            return;
        };
        let running = Running::start(&program);
        packed::run(folder.path(), AS_GO_1_26);
        let name = |file: &str| {
            let file = std::fs::File::open(folder.path().join(file)).unwrap();
            let content = crate::maps::Content::File(file);
            let address = [running.address];
            let found = crate::symbol::go::names(&content, &Limits::default(), &address);
            found.unwrap().unwrap().remove(0)
        };
        assert_eq!(name("with").as_deref(), Some("main.(*shark).findMe"));
        let by_section = name("without");
        let is_right = by_section.as_deref() == Some("main.(*shark).findMe");
        assert_eq!(is_right, section_suffices, "{by_section:?}");
    }
}
