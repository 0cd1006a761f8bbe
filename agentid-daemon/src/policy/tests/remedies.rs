//! What an author reads of a mistake.

use crate::policy;

/// Rules with mistakes in them, in a policy that has no other.
const MISTAKES: &[&str] = &[
    "descripton = 'x'",
    "ttl = '30 minutes'",
    "ttl = '0s'",
    "ttl = '366d'",
    "max_ttl = '1s'",
    "params = ['Work']",
    "params = ['unused']",
    "mode = 'permissive'",
    "on_end = 'stop'",
    "capabilities = ['net_rwa']",
    "capabilities = ['net_raw', 'net_raw']",
    "capabilities = ['chown']",
    "capabilities = ['sys_module']",
    "ends_sandbox = true",
    "[[file]]\nallow = ['read']",
    "[[file]]\npaths = []\nallow = ['read']",
    "[[file]]\npaths = ['/a']",
    "[[file]]\npaths = ['/a']\nallow = ['read']\ndeny = ['write']",
    "[[file]]\npaths = ['/a']\nallow = []",
    "[[file]]\npaths = ['/a']\nallow = 'read'",
    "[[file]]\npaths = ['/a']\nallow = ['raed']",
    "[[file]]\npaths = ['a']\nallow = ['read']",
    "[[file]]\npaths = ['/a/']\nallow = ['read']",
    "[[file]]\npaths = ['/a//b']\nallow = ['read']",
    "[[file]]\npaths = ['/a/../b']\nallow = ['read']",
    "[[file]]\npaths = ['/a**b']\nallow = ['read']",
    "[[file]]\npaths = ['/[ab]']\nallow = ['read']",
    "[[file]]\npaths = ['${work}/a']\nallow = ['read']",
    "[[file]]\npaths = ['/proc/self/maps']\nallow = ['read']",
    "[[net]]\nallow = ['connect']",
    "[[net]]\nto = ['10.0.0.1:1']\non = ['10.0.0.1:1']\nallow = ['connect']",
    "[[net]]\nto = ['10.0.0.1']\nallow = ['connect']",
    "[[net]]\nto = ['10.0.0.1:http']\nallow = ['connect']",
    "[[net]]\nto = ['10.0.0.1/8:1']\nallow = ['connect']",
    "[[net]]\nto = ['10.0.0.1:1']\nallow = ['listen']",
    "[[net]]\non = ['10.0.0.1:1']\nallow = ['connect']",
    "[[net]]\non = ['a.example:1']\nallow = ['listen']",
    "[[net]]\nto = ['10.0.0.1:1']\nproto = 'sctp'\nallow = ['connect']",
    "[[net]]\nto = ['10.0.0.1:1']\nproto = []\nallow = ['connect']",
    "[[net]]\nto = ['10.0.0.1:1']\nproto = 'icmp'\nallow = ['connect']",
    "[[net]]\nto = ['10.0.0.1:1']\nallow = ['send']",
    "[[net]]\nto = ['10.0.0.1:1']\nresolves_to = ['10.0.0.0/8']\nallow = ['connect']",
    "[delegate]\nto = []",
    "[delegate]\nto = ['a']\ndepth = 9",
    "[limits]\ndenials_per_minute = 0",
    "[limits]\nmemory = '2G'",
    "[limits]\nmemory = '1KiB'",
    "[limits]\ntasks = 0",
    "[limits]\ncpu = '1.5'",
    "[limits]\ncpu = '0%'",
    "[[expect]]\nallow = ['read']",
    "[[expect]]\nallow = ['read']\npath = '/a'\nto = '10.0.0.1:1'",
    "[[expect]]\nallow = ['read']\npath = '/a/*'",
    "[[expect]]\nallow = ['connect']\nto = '10.0.0.0/8:1'",
    "[[expect]]\nallow = ['use']\ncapability = 'root'",
];

/// Each is found alone, says where it is, and what to write.
#[test]
fn every_mistake_has_a_proposal() {
    let mut without = Vec::new();
    for mistake in MISTAKES {
        let ttl = if mistake.starts_with("ttl") { "" } else { "ttl = '30m'\n" };
        let text = format!("name = 'p'\n{ttl}{mistake}\n");
        let errors = policy::parse("p.toml", &text).expect_err(mistake);
        for error in errors {
            assert!(error.line > 1 && !error.message.ends_with('.'), "{error}");
            if error.help.is_none() {
                without.push(error.to_string());
            }
        }
    }
    assert!(without.is_empty(), "no proposal for\n{}", without.join("\n"));
}
