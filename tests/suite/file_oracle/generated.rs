//! Policies that nobody has thought of.

const RULES: usize = 7;
const RIGHTS: [&str; 5] = ["read", "write", "create", "delete", "exec"];
/// What patterns are made of: names that are there, and patterns of names.
const PARTS: [&str; 10] = ["a", "b", "lib", "x.pem", "note.txt", "*", "?", "*.pem", "id_*", "n*"];

/// Numbers that look random, the same for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    /// Some of the rights, and at least one.
    fn rights(&mut self) -> String {
        let some = 1 + self.below((1 << RIGHTS.len()) - 1);
        let chosen = RIGHTS.iter().enumerate().filter(|(bit, _)| some >> bit & 1 == 1);
        chosen.map(|(_, right)| format!("\"{right}\"")).collect::<Vec<_>>().join(", ")
    }

    fn pattern(&mut self) -> String {
        let mut pattern = "${made_up}".to_owned();
        if self.below(4) == 0 {
            pattern += "/**";
        }
        for _ in 0..self.below(3) {
            pattern = format!("{pattern}/{}", PARTS[self.below(PARTS.len())]);
        }
        if pattern.ends_with('}') || !pattern.ends_with("/**") && self.below(2) == 0 {
            pattern += "/**";
        }
        pattern
    }
}

/// The policy of this seed, with one parameter.
pub fn policy(seed: u64) -> String {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut text = format!("name = \"made-up-{seed}\"\nttl = \"20m\"\nparams = [\"made_up\"]\n");
    for _ in 0..RULES {
        let verb = if dice.below(3) == 0 { "deny" } else { "allow" };
        let (pattern, rights) = (dice.pattern(), dice.rights());
        text += &format!("[[file]]\npaths = [\"{pattern}\"]\n{verb} = [{rights}]\n");
    }
    text
}
