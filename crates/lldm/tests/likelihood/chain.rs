//! The likelihood in one order of writing.

use lldm::likelihood::{Kind, exhaustive_bound, in_order, left_to_right};
use lldm_diffusion::Token;

use crate::{ROUNDING, Tempered, assert_near, by_order, mean, orders, table};
use lldm_diffusion::Denoiser;

#[test]
fn exact_conditionals_give_the_likelihood_in_every_order() {
    let table = table(3, 3);
    for (text, p) in table.texts() {
        for order in orders(3) {
            let found = in_order(&table, &[], text, &order).unwrap();
            assert_eq!((found.kind, found.nfe, found.standard_error), (Kind::OneOrder, 3, Some(0.0)));
            assert_near(found.nats, -p.ln(), "the chain rule");
        }
    }
}

/// A wrong model gives another likelihood in every order; their mean is the masked bound.
#[test]
fn the_bound_is_the_mean_over_all_orders() {
    let model = Tempered::new(table(2, 4), 0.4, None);
    let text: [Token; 4] = [1, 1, 0, 1];
    let each: Vec<_> = orders(4).iter().map(|order| in_order(&model, &[], &text, order).unwrap().nats).collect();
    let mut context = model.prefill(&[]).unwrap();
    for (found, expected) in each.iter().zip(by_order(&model, &mut context, &text)) {
        assert_near(*found, expected, "one order");
    }
    assert_near(mean(&each), exhaustive_bound(&model, &[], &text).unwrap().nats, "the mean");
    assert!(each.iter().any(|nats| (nats - mean(&each)).abs() > 100.0 * ROUNDING), "{each:?}");
}

#[test]
fn an_order_names_every_cell_once() {
    let table = table(2, 3);
    let error = |order: &[usize]| in_order(&table, &[], &[0, 1, 0], order).unwrap_err().to_string();
    assert_eq!(error(&[0, 2]), "order is [0, 2], but it must name each of the 3 cells once");
    assert!(error(&[0, 0, 1]).contains("each of the 3 cells once"));
    let blocks = Tempered::new(table.clone(), 1.0, Some(2));
    assert!(in_order(&blocks, &[], &[0, 1, 0], &[2, 1, 0]).unwrap_err().to_string().contains("only left to right"));
    assert_eq!(left_to_right(&blocks, &[], &[0, 1, 0]).unwrap().kind, Kind::OneOrder);
    assert_eq!(left_to_right(&table, &[], &[1]).unwrap().kind, Kind::Exact, "one token has one order");
}
