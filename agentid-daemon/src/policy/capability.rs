//! `capabilities`: what a policy leaves to its runs beyond the usual.

use agentid_common::capability::{self, Capabilities, NAMES};

use super::{document::Document, error::Flaw, nearest::nearest, reader::Reader};

/// Those that are usual, and those that the document names. Each mistake is noted.
pub(super) fn granted(document: &Document, reader: &mut Reader<'_>) -> Capabilities {
    let said = document.ends_sandbox.as_ref().filter(|word| *word.get_ref());
    let mut granted = Capabilities::NONE;
    let mut understood = true;
    for item in &document.capabilities {
        let name = item.get_ref();
        let span = item.span();
        let Some(number) = capability::number(name) else {
            reader.flaw(&span, unknown(name));
            understood = false;
            continue;
        };
        if granted.holds(number) {
            let flaw = Flaw::new(format!("capability `{name}` stands here twice"));
            reader.flaw(&span, flaw.help("leave it out"));
        } else if Capabilities::USUAL.holds(number) {
            let flaw = Flaw::new(format!("every run has capability `{name}` that its user has"));
            reader.flaw(&span, flaw.help("leave it out"));
        } else if Capabilities::UNBOUND.holds(number) && said.is_none() {
            let flaw = Flaw::new(format!(
                "capability `{name}` takes a run out of its rules: who has it changes the kernel, or what the rules look at"
            ));
            let help = "leave it out, or add `ends_sandbox = true` to the policy";
            reader.flaw(&span, flaw.help(help));
        }
        granted = granted.with(number);
    }
    if let Some(word) = said
        && understood
        && granted.common(Capabilities::UNBOUND) == Capabilities::NONE
    {
        let flaw = Flaw::new("`ends_sandbox` in a policy that grants no capability that does");
        reader.flaw(&word.span(), flaw.help("leave it out"));
    }
    Capabilities::USUAL.with_all(granted)
}

pub(super) fn unknown(name: &str) -> Flaw {
    let flaw = Flaw::new(format!("unknown capability `{name}`"));
    let lower = name.to_ascii_lowercase();
    let plain = lower.strip_prefix("cap_").unwrap_or(&lower);
    match nearest(plain, NAMES) {
        Some(near) => flaw.help(format!("did you mean `{near}`?")),
        None => flaw.help("names are those of capabilities(7), in lower case and without `CAP_`"),
    }
}
