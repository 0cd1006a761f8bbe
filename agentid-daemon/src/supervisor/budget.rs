//! How often something may be done: so many times at once, and so many in each second after that.

use std::time::Instant;

/// What is left of it.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: f64,
    most: f64,
    each_second: f64,
    at: Instant,
}

impl Budget {
    pub fn new(most: u32, each_second: u32, now: Instant) -> Self {
        Self { left: most.into(), most: most.into(), each_second: each_second.into(), at: now }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = since.mul_add(self.each_second, self.left).min(self.most);
        self.at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_used_up_comes_back_with_time_and_no_more_than_that() {
        let start = Instant::now();
        let mut budget = Budget::new(3, 2, start);
        let taken = |budget: &mut Budget, at| (0..10).filter(|_| budget.take(at)).count();
        assert_eq!(taken(&mut budget, start), 3);
        assert_eq!(taken(&mut budget, start + Duration::from_millis(400)), 0);
        assert_eq!(taken(&mut budget, start + Duration::from_secs(1)), 2);
        assert_eq!(taken(&mut budget, start + Duration::from_secs(100)), 3);
        assert_eq!(taken(&mut budget, start), 0);
    }
}
