#![allow(clippy::print_stdout, clippy::unwrap_used)]
use lldm_train::tracker::{Metrics, Tracker};
struct P;
impl Tracker for P {
    fn record(&mut self, m: &Metrics) -> lldm_train::Result<()> {
        println!("{}", serde_json::to_string(m).unwrap());
        Ok(())
    }
}
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (resume, rest): (Vec<_>, Vec<_>) = args.into_iter().partition(|a| a == "--resume");
    let recipe = lldm_train::Recipe::read(std::path::Path::new(&rest[0]), &rest[1..]).unwrap();
    let places = lldm_train::data::Places::from_env().unwrap();
    let start = std::time::Instant::now();
    let mut trainer = lldm_train::Trainer::new(recipe, &places, !resume.is_empty()).unwrap_or_else(|e| panic!("{e}"));
    let d = trainer.dataset();
    println!(
        "prepared in {:?}: {} parameters, train tokens {}, held out {}",
        start.elapsed(),
        trainer.parameters(),
        d.train.tokens(),
        d.held_out.tokens()
    );
    let out = trainer.run(&mut P).unwrap_or_else(|e| panic!("{e}"));
    println!("{out:?}");
}
