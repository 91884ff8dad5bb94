//! Instructions in a row, in Intel's notation.

#[derive(Default)]
pub struct Instructions(Vec<String>);

impl Instructions {
    pub fn push(&mut self, line: impl Into<String>) {
        self.0.push(line.into());
    }

    pub fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Both, each in its order, the few evenly among the many. They must not touch each other's registers or flags.
    pub fn shuffled(many: Self, few: Self) -> Self {
        let (all, due) = (many.0.len(), few.0.len());
        let mut few = few.0.into_iter();
        let mut shuffled = Vec::with_capacity(all + due);
        for (number, line) in many.0.into_iter().enumerate() {
            shuffled.push(line);
            let more = (number + 1) * due / all - number * due / all;
            shuffled.extend(few.by_ref().take(more));
        }
        Self(shuffled)
    }

    pub fn text(&self) -> String {
        self.0.join("\n") + "\n"
    }
}
