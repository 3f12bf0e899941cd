//! What people and models say, by service. Templates have slots such as `{city}`, filled once per session so that it keeps its story.

pub(crate) mod code;
pub(crate) mod docs;
pub(crate) mod research;
pub(crate) mod support;
pub(crate) mod tickets;

use super::dice::Dice;

const FIRST: [&str; 10] = ["Elena", "Marcus", "Aiko", "David", "Fatima", "Peter", "Lucy", "Henrik", "Carla", "Noah"];
const CITIES: [&str; 10] =
    ["Lisbon", "Kyoto", "Edinburgh", "Oaxaca", "Reykjavik", "Ljubljana", "Porto", "Marrakesh", "Bergen", "Valencia"];
const MONTHS: [&str; 8] = ["January", "February", "March", "April", "May", "June", "September", "October"];
const ITEMS: [&str; 6] =
    ["45 L backpack", "merino base layer", "cabin suitcase", "rain shell", "noise-cancelling headphones", "packing cube set"];

/// What the slots of one session stand for.
pub(crate) struct Slots(Vec<(&'static str, String)>);

impl Slots {
    /// A fresh story.
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let day = dice.between(2, 27);
        let total = dice.between(80, 1900);
        let month = *dice.pick(&MONTHS);
        Self(vec![
            ("{name}", (*dice.pick(&FIRST)).to_owned()),
            ("{city}", (*dice.pick(&CITIES)).to_owned()),
            ("{item}", (*dice.pick(&ITEMS)).to_owned()),
            ("{month}", month.to_owned()),
            ("{date}", format!("{day} {month}")),
            ("{late}", format!("{} {month}", day + 1)),
            ("{booking}", format!("LK-{}", dice.between(204_113, 988_730))),
            ("{order}", format!("G{}", dice.between(1_200_045, 4_870_992))),
            ("{total}", format!("{total}.{:02}", dice.between(0, 19) * 5)),
            ("{part}", format!("{}.50", total * 7 / 10)),
            ("{limit}", format!("{}", dice.pick(&[60, 120, 300, 600]))),
            ("{days}", format!("{}", dice.between(3, 9))),
            ("{people}", format!("{}", dice.between(1, 5))),
            ("{budget}", format!("{}", dice.between(6, 40) * 100)),
        ])
    }

    /// `template` with its slots filled.
    pub(crate) fn fill(&self, template: impl AsRef<str>) -> String {
        self.0.iter().fold(template.as_ref().to_owned(), |text, (slot, value)| text.replace(slot, value))
    }

    /// The value of `slot`, written with its braces.
    pub(crate) fn get(&self, slot: &str) -> &str {
        self.0.iter().find(|(name, _)| *name == slot).map_or("", |(_, value)| value)
    }
}
