//! Which recursion of a grammar is mere repetition, and which nests.
//!
//! A rule that leads back to itself with text on both sides nests (Chomsky 1959): only that takes a level of depth. Rules that lead
//! back to one another always with nothing before, or always with nothing behind (left- and right-linear), and rules that lead only to
//! themselves at an end of theirs, repeat, and become loops (as in Nederhof 2000, who approximates where this file counts).
//!
//! References are counted until nothing else nests. Of the rules on such cycles the first is taken whose references, if they are
//! counted where they close a cycle that nests, leave only repetition; if there is none, the first that closes any, and so on.

use std::collections::{HashMap, HashSet, VecDeque};

use super::fragment::{Call, Fragment, Step};
use crate::budget::Meter;
use crate::error::Result;

/// The order of rules, and the groups of those that repeat within one another.
pub(super) struct Recursion {
    /// The group of each rule that is reached; groups of rules that a rule leads to come before its own.
    pub(super) group: HashMap<usize, usize>,
    pub(super) groups: Vec<Vec<usize>>,
}

/// A call of one rule within another.
#[derive(Clone, Copy)]
struct Edge {
    from: usize,
    to: usize,
    step: usize,
    before: bool,
    after: bool,
}

/// Marks the calls that take a level of depth.
///
/// # Errors
/// The meter's.
pub(super) fn analyse(fragments: &mut [Fragment], start: usize, meter: &Meter) -> Result<Recursion> {
    let order = reached(fragments, start);
    let mut edges = Vec::new();
    for from in &order {
        let edge = |(step, call): (usize, &Call)| {
            let (to, Call { before, after, .. }) = (call.reference.definition, *call);
            Edge { from: *from, to, step, before, after }
        };
        edges.extend(fragments[*from].calls().map(edge));
    }
    let mut counted = vec![false; edges.len()];
    loop {
        let parts = components(&order, &edges, &counted);
        let inner = within(&parts, &edges, &counted);
        let nests = parts.iter().zip(&inner).filter(|(part, inner)| !repeats(part, inner, &edges));
        let chosen: Result<Vec<_>> = nests.map(|(part, inner)| chosen(part, inner, &edges, meter)).collect();
        let chosen = chosen?.concat();
        if chosen.is_empty() {
            break;
        }
        chosen.into_iter().for_each(|edge| counted[edge] = true);
    }
    for (edge, _) in edges.iter().zip(&counted).filter(|(_, counted)| **counted) {
        if let Step::Call(call) = &mut fragments[edge.from].steps[edge.step] {
            call.deeper = true;
        }
    }
    let groups = components(&order, &edges, &counted);
    let group = groups.iter().enumerate().flat_map(|(at, rules)| rules.iter().map(move |rule| (*rule, at))).collect();
    Ok(Recursion { group, groups })
}

/// The rules that are reached, breadth first.
fn reached(fragments: &[Fragment], start: usize) -> Vec<usize> {
    let mut seen = vec![false; fragments.len()];
    let (mut order, mut open) = (Vec::new(), VecDeque::from([start]));
    seen[start] = true;
    while let Some(rule) = open.pop_front() {
        order.push(rule);
        // Fragments are built from their end, so the first reference is the last step.
        let mut calls: Vec<_> = fragments[rule].calls().map(|(_, call)| call.reference).collect();
        calls.sort_by_key(|reference| reference.ordinal);
        for reference in calls {
            if !std::mem::replace(&mut seen[reference.definition], true) {
                open.push_back(reference.definition);
            }
        }
    }
    order
}

/// The calls within each component that are not counted.
fn within(components: &[Vec<usize>], edges: &[Edge], counted: &[bool]) -> Vec<Vec<usize>> {
    let place = components.iter().enumerate().flat_map(|(at, rules)| rules.iter().map(move |rule| (*rule, at)));
    let place: HashMap<usize, usize> = place.collect();
    let mut inner = vec![Vec::new(); components.len()];
    for (at, edge) in edges.iter().enumerate().filter(|(at, _)| !counted[*at]) {
        let (from, to) = (place.get(&edge.from), place.get(&edge.to));
        if let Some(component) = from.filter(|from| Some(*from) == to) {
            inner[*component].push(at);
        }
    }
    inner
}

/// Whether a component is mere repetition.
fn repeats(component: &[usize], inner: &[usize], edges: &[Edge]) -> bool {
    let all = |holds: &dyn Fn(&Edge) -> bool| inner.iter().all(|at| holds(&edges[*at]));
    all(&|edge| !edge.before)
        || all(&|edge| !edge.after)
        || component.len() == 1 && all(&|edge| !(edge.before && edge.after))
}

/// The calls of a component to count next; at least one.
fn chosen(component: &[usize], inner: &[usize], edges: &[Edge], meter: &Meter) -> Result<Vec<usize>> {
    let kept: Vec<Edge> = inner.iter().map(|at| edges[*at]).collect();
    let mut first = None;
    for rule in component {
        meter.check(0, 0)?;
        let closing = closing(*rule, &kept);
        if closing.is_empty() {
            continue;
        }
        let mut counted = vec![false; kept.len()];
        closing.iter().for_each(|at| counted[*at] = true);
        let parts = components(component, &kept, &counted);
        let enough =
            within(&parts, &kept, &counted).iter().zip(&parts).all(|(inner, part)| repeats(part, inner, &kept));
        if enough {
            return Ok(closing.into_iter().map(|at| inner[at]).collect());
        }
        first.get_or_insert(closing);
    }
    // Where each cycle is one-sided, and yet not all of them alike, one side is counted.
    let before = || (0..kept.len()).filter(|at| kept[*at].before).collect();
    Ok(first.unwrap_or_else(before).into_iter().map(|at| inner[at]).collect())
}

/// The calls of a rule that close a cycle with text on both sides, which the rule enters once.
fn closing(rule: usize, edges: &[Edge]) -> Vec<usize> {
    let mut calls: HashMap<usize, Vec<usize>> = HashMap::new();
    edges.iter().enumerate().for_each(|(at, edge)| calls.entry(edge.from).or_default().push(at));
    let mut seen = HashSet::from([(rule, false, false)]);
    let mut open = vec![(rule, false, false)];
    let mut found = Vec::new();
    while let Some((at, before, after)) = open.pop() {
        for call in calls.get(&at).into_iter().flatten() {
            let edge = edges[*call];
            let next = (edge.to, before || edge.before, after || edge.after);
            if edge.to == rule {
                if next.1 && next.2 {
                    found.push(*call);
                }
            } else if seen.insert(next) {
                open.push(next);
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The strongly connected components over calls that are not counted (Tarjan 1972), each in the order of `rules`; what a component
/// leads to comes before it.
fn components(rules: &[usize], edges: &[Edge], counted: &[bool]) -> Vec<Vec<usize>> {
    let place: HashMap<usize, usize> = rules.iter().enumerate().map(|(at, rule)| (*rule, at)).collect();
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); rules.len()];
    for (edge, _) in edges.iter().zip(counted).filter(|(_, counted)| !**counted) {
        if let (Some(from), Some(to)) = (place.get(&edge.from), place.get(&edge.to)) {
            next[*from].push(*to);
        }
    }
    let none = usize::MAX;
    let (mut index, mut low) = (vec![none; rules.len()], vec![none; rules.len()]);
    let mut on_stack = vec![false; rules.len()];
    let (mut stack, mut count, mut all) = (Vec::new(), 0, Vec::new());
    for root in 0..rules.len() {
        if index[root] != none {
            continue;
        }
        let mut open = vec![(root, 0)];
        while let Some((at, child)) = open.pop() {
            if child == 0 {
                (index[at], low[at]) = (count, count);
                count += 1;
                stack.push(at);
                on_stack[at] = true;
            } else {
                let to = next[at][child - 1];
                low[at] = low[at].min(low[to]);
            }
            let mut waits = None;
            for (step, to) in next[at].iter().enumerate().skip(child) {
                if index[*to] == none {
                    waits = Some((step + 1, *to));
                    break;
                }
                if on_stack[*to] {
                    low[at] = low[at].min(index[*to]);
                }
            }
            if let Some((child, to)) = waits {
                open.push((at, child));
                open.push((to, 0));
            } else if low[at] == index[at] {
                let mut component = Vec::new();
                while let Some(member) = stack.pop() {
                    on_stack[member] = false;
                    component.push(member);
                    if member == at {
                        break;
                    }
                }
                component.sort_unstable();
                all.push(component.into_iter().map(|at| rules[at]).collect());
            }
        }
    }
    all
}
