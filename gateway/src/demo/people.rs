//! A population of people who do not exist, in households, with what the agencies know of them.
//!
//! Everything follows from a seed, so that each agency's system, in its own process, holds its part of the same people. Their
//! codici fiscali are valid and belong to nobody (`varco_core::subject::SYNTHETIC_SURNAME`). What is known of a person is
//! plausible as a whole: who looks for work has declared it, who is poor may get ADI, small children have no work.

use std::collections::HashMap;

use varco_core::id::{AgencyId, RecordTypeId};
use varco_core::subject::{CodiceFiscale, Sex};
use varco_core::time::{Date, Month};

mod chance;
mod names;
mod records;
#[cfg(test)]
mod tests;

use chance::Chance;

/// The day the demonstration's facts are as of. Fixed: the same seed must give the same people tomorrow.
const TODAY: (i32, Month, u8) = (2026, Month::October, 1);
/// The story's person is the first of all, whatever the seed.
pub const ANNA: usize = 0;
/// The person of the bench: their `condizione_economica_prestazioni` is about 4 KB of JSON.
pub const BRUNO: usize = 3;

/// A Comune of the Piana: agency, ISTAT code, land register code, post code, name, weight by inhabitants.
#[derive(Debug, PartialEq, Eq)]
pub struct Comune {
    pub agency: &'static str,
    pub istat: &'static str,
    pub belfiore: &'static str,
    pub cap: &'static str,
    pub name: &'static str,
}

const CAPANNORI: Comune =
    Comune { agency: "comune-capannori", istat: "046007", belfiore: "B648", cap: "55012", name: "Capannori" };

/// With the weights that the numbers of inhabitants give.
static COMUNI: [(u32, Comune); 7] = [
    (
        9,
        Comune {
            agency: "comune-altopascio",
            istat: "046001",
            belfiore: "A241",
            cap: "55011",
            name: "Altopascio",
        },
    ),
    (27, CAPANNORI),
    (53, Comune { agency: "comune-lucca", istat: "046017", belfiore: "E715", cap: "55100", name: "Lucca" }),
    (
        3,
        Comune {
            agency: "comune-montecarlo",
            istat: "046021",
            belfiore: "F452",
            cap: "55015",
            name: "Montecarlo",
        },
    ),
    (
        2,
        Comune {
            agency: "comune-pescaglia",
            istat: "046022",
            belfiore: "G480",
            cap: "55064",
            name: "Pescaglia",
        },
    ),
    (
        5,
        Comune { agency: "comune-porcari", istat: "046026", belfiore: "G882", cap: "55016", name: "Porcari" },
    ),
    (
        1,
        Comune {
            agency: "comune-villa-basilica",
            istat: "046034",
            belfiore: "L913",
            cap: "55019",
            name: "Villa Basilica",
        },
    ),
];

/// All people, and how to find them.
pub struct Population {
    seed: u64,
    people: Vec<Person>,
    households: Vec<Household>,
    by_code: HashMap<CodiceFiscale, usize>,
}

/// What is the same for everybody who lives together.
struct Household {
    comune: &'static Comune,
    /// Places of its members in the population.
    members: std::ops::Range<usize>,
    /// ISEE in euro.
    isee: u32,
    protected_address: bool,
    citizenship: &'static str,
}

pub struct Person {
    pub code: CodiceFiscale,
    pub surname: &'static str,
    pub name: &'static str,
    pub sex: Sex,
    pub birth: Date,
    birthplace: &'static Comune,
    /// ANPR relation to the household's reference person: 1 is the person themselves.
    relation: &'static str,
    household: usize,
    job: Job,
}

/// What somebody lives by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Job {
    #[default]
    None,
    Employed,
    Jobseeker,
    Retired,
    Student,
}

/// A member of a household before their code is made.
struct Draft {
    surname: &'static str,
    name: &'static str,
    sex: Sex,
    birth: Date,
    relation: &'static str,
    /// Fixed for the people of the story.
    job: Option<Job>,
}

/// The members of a field's items that are asked for by themselves, because they have a policy of their own.
pub fn parts_of(field: &str) -> &'static [&'static str] {
    match field {
        "prestazioni" => &["importi"],
        _ => &[],
    }
}

impl Population {
    /// `size` people or a few more: the last household is not cut.
    pub fn generate(seed: u64, size: usize) -> Self {
        let mut all = Self { seed, people: Vec::new(), households: Vec::new(), by_code: HashMap::new() };
        all.settle(anna());
        all.settle(bruno());
        let mut number = 0_u64;
        while all.people.len() < size {
            number += 1;
            all.settle(household(&mut Chance::of(seed, number)));
        }
        all
    }

    pub fn people(&self) -> &[Person] {
        &self.people
    }

    pub fn find(&self, code: &CodiceFiscale) -> Option<&Person> {
        self.by_code.get(code).and_then(|place| self.people.get(*place))
    }

    /// The agency whose records tell where a person lives.
    pub fn comune(&self, person: &Person) -> Option<&'static Comune> {
        self.household(person).map(|household| household.comune)
    }

    /// What an agency's system holds of a person, all fields; `None` when it holds no such record.
    pub fn record(
        &self,
        agency: &AgencyId,
        record_type: &RecordTypeId,
        person: &Person,
    ) -> Option<serde_json::Map<String, serde_json::Value>> {
        let household = self.household(person)?;
        let at_home = household.comune.agency == agency.as_str();
        match record_type.as_str() {
            "anagrafica_nucleo" if at_home => Some(records::registry(self, household, person)),
            "condizione_economica_prestazioni" if at_home => Some(records::economy(self, household, person)),
            "posizione_lavoro" if agency.as_str() == "cpi-lucca" => records::work(self, household, person),
            _ => None,
        }
    }

    fn household(&self, person: &Person) -> Option<&Household> {
        self.households.get(person.household)
    }

    /// Chance of a person's own, for one kind of record.
    fn chance(&self, person: &Person, record: u64) -> Chance {
        let place = self.by_code.get(&person.code).copied().unwrap_or_default();
        Chance::of(self.seed ^ record, u64::try_from(place).unwrap_or_default())
    }

    fn settle(&mut self, (mut household, drafts): (Household, Vec<Draft>)) {
        let first = self.people.len();
        for draft in drafts {
            let mut chance =
                Chance::of(self.seed ^ 0xc0de, u64::try_from(self.people.len()).unwrap_or_default());
            let born_here = draft.job.is_some() || chance.percent(70);
            let birthplace = if born_here { household.comune } else { a_comune(&mut chance) };
            let Draft { surname, name, sex, birth, relation, job } = draft;
            let job = job.unwrap_or_else(|| a_job(&mut chance, birth, household.isee));
            let Ok(plain) = CodiceFiscale::build(surname, name, birth, sex, birthplace.belfiore) else {
                continue;
            };
            // Who comes second with a code gets letters for digits. A few have them without a twin among these people.
            let twin_elsewhere = usize::from(self.people.len() == 6 || chance.below(150) == 0);
            let free = |count: &usize| !self.by_code.contains_key(&plain.with_omocodia(*count));
            let Some(omocodia) = (twin_elsewhere..=7).find(free) else { continue };
            let code = plain.with_omocodia(omocodia);
            self.by_code.insert(code.clone(), self.people.len());
            let household = self.households.len();
            self.people.push(Person {
                code,
                surname,
                name,
                sex,
                birth,
                birthplace,
                relation,
                household,
                job,
            });
        }
        household.members = first..self.people.len();
        self.households.push(household);
    }
}

impl Person {
    fn age(&self) -> i32 {
        years(self.birth, today())
    }

    fn is_minor(&self) -> bool {
        self.age() < 18
    }
}

/// Anna lives in Capannori with two children, lost her job, gets ADI, and has a pact with the employment centre.
fn anna() -> (Household, Vec<Draft>) {
    let member = |name, sex, birth, relation| {
        let job = Some(if relation == "1" { Job::Jobseeker } else { Job::Student });
        Draft { surname: "Xxquercia", name, sex, birth, relation, job }
    };
    let home = Household {
        comune: &CAPANNORI,
        members: 0..0,
        isee: 5_840,
        protected_address: false,
        citizenship: "380",
    };
    let members = vec![
        member("Anna", Sex::Female, date(1985, Month::March, 12), "1"),
        member("Matteo", Sex::Male, date(2010, Month::September, 3), "3"),
        member("Sara", Sex::Female, date(2017, Month::January, 28), "3"),
    ];
    (home, members)
}

/// Bruno, of Capannori too, has had many small benefits: a long record.
fn bruno() -> (Household, Vec<Draft>) {
    let home = Household {
        comune: &CAPANNORI,
        members: 0..0,
        isee: 3_120,
        protected_address: false,
        citizenship: "380",
    };
    let birth = date(1961, Month::June, 30);
    let job = Some(Job::Jobseeker);
    (home, vec![Draft { surname: "Xxquadri", name: "Bruno", sex: Sex::Male, birth, relation: "1", job }])
}

fn household(chance: &mut Chance) -> (Household, Vec<Draft>) {
    let size = chance.weigh(&[(33, 1), (27, 2), (19, 3), (15, 4), (4, 5), (2, 6)]);
    // These are people whom services follow: one in five is a foreign citizen, and many are poor.
    let citizenship =
        chance.weigh(&[(80, "380"), (5, "008"), (5, "642"), (4, "504"), (3, "144"), (2, "804"), (1, "566")]);
    let scale = chance.weigh(&[(25, 3_000_u32), (30, 7_000), (25, 14_000), (15, 24_000), (5, 45_000)]);
    let household = Household {
        comune: a_comune(chance),
        members: 0..0,
        isee: chance.between(0, scale),
        protected_address: chance.percent(5),
        citizenship,
    };
    let surname = chance.pick(&names::SURNAMES);
    let age = chance.weigh(&[(20, 26), (35, 38), (25, 50), (12, 62), (8, 76)]) + chance.below(8);
    let couple = size >= 2 && chance.percent(60);
    let mut members = vec![draft(chance, surname, "1", age)];
    if couple {
        let other = chance.pick(&names::SURNAMES);
        let relation = if chance.percent(70) { "2" } else { "26" };
        let other_age = age.saturating_sub(chance.below(6)).max(19);
        members.push(draft(chance, other, relation, other_age));
    }
    while members.len() < size {
        // Children of whoever is old enough; otherwise a parent of the reference person.
        let parent = age < 26 || (age < 58 && chance.percent(8));
        let apart = chance.below(18);
        members.push(if parent {
            draft(chance, surname, "6", age + 24 + apart / 2)
        } else {
            draft(chance, surname, "3", age.saturating_sub(20 + apart).min(30))
        });
    }
    (household, members)
}

fn draft(chance: &mut Chance, surname: &'static str, relation: &'static str, age: u32) -> Draft {
    let (sex, name) = if chance.percent(52) {
        (Sex::Female, chance.pick(&names::WOMEN))
    } else {
        (Sex::Male, chance.pick(&names::MEN))
    };
    let month = Month::try_from(u8::try_from(chance.between(1, 12)).unwrap_or(1)).unwrap_or(Month::January);
    let day = u8::try_from(chance.between(1, 28)).unwrap_or(1);
    // Born before October, they have had this year's birthday; all others were born the year before.
    let year = TODAY.0 - i32::try_from(age).unwrap_or_default() - i32::from(month >= TODAY.1);
    Draft { surname, name, sex, birth: date(year, month, day), relation, job: None }
}

fn a_job(chance: &mut Chance, birth: Date, isee: u32) -> Job {
    let jobless = if isee < 9_000 { 60 } else { 18 };
    match years(birth, today()) {
        ..16 => Job::None,
        16..20 => Job::Student,
        67.. => Job::Retired,
        _ if chance.percent(jobless) => Job::Jobseeker,
        _ => chance.weigh(&[(85, Job::Employed), (15, Job::None)]),
    }
}

fn a_comune(chance: &mut Chance) -> &'static Comune {
    let mut left = chance.below(COMUNI.iter().map(|(weight, _)| weight).sum());
    for (weight, comune) in &COMUNI {
        if left < *weight {
            return comune;
        }
        left -= weight;
    }
    &CAPANNORI
}

fn today() -> Date {
    date(TODAY.0, TODAY.1, TODAY.2)
}

/// A day that exists; the days this module writes are at most the 28th, or known.
fn date(year: i32, month: Month, day: u8) -> Date {
    Date::from_calendar_date(year, month, day).unwrap_or(Date::MIN)
}

fn years(from: Date, to: Date) -> i32 {
    let not_yet = (to.month(), to.day()) < (from.month(), from.day());
    to.year() - from.year() - i32::from(not_yet)
}
