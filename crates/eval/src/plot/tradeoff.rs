//! Speed against quality: a line for each sampler, its points named by their setting.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Error, Result};

/// A setting in the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The setting, in a word.
    pub label: String,
    /// Answer tokens per second, divided by the twin's.
    pub speed: f64,
    /// The judge's perplexity.
    pub perplexity: f64,
}

/// The settings of one sampler, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The sampler and what is varied.
    pub name: String,
    /// Its points.
    pub marks: Vec<Mark>,
}

/// What is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct TradeoffPicture {
    /// Where and when it was measured.
    pub caption: String,
    /// One line a sampler.
    pub series: Vec<Series>,
    /// The model that the others are set against.
    pub twin: Mark,
    /// Human text under the same judge, as a level.
    pub human: Option<f64>,
}

/// The size in pixels.
const SIZE: (u32, u32) = (720, 440);
/// Marks that are nearer than this share of both axes have one label.
const CLOSE: f64 = 0.04;
/// Colours of the lines, of the twin, of human text.
const COLOURS: [RGBColor; 3] = [RGBColor(0, 96, 168), RGBColor(200, 80, 0), RGBColor(0, 130, 90)];
const TWIN: RGBColor = RGBColor(30, 30, 30);
const HUMAN: RGBColor = RGBColor(130, 130, 130);

/// Draws the picture. Both axes are logarithmic: ratios of speed and of perplexity are what compares.
pub fn tradeoff(picture: &TradeoffPicture) -> Result<String> {
    let fail = |error: &dyn std::fmt::Display| Error::Plot { message: error.to_string() };
    let marks = || picture.series.iter().flat_map(|series| &series.marks).chain([&picture.twin]);
    let x = Axis::around(marks().map(|mark| mark.speed))?;
    let y = Axis::around(marks().map(|mark| mark.perplexity).chain(picture.human))?;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(|error| fail(&error))?;
        let mut chart = ChartBuilder::on(&area)
            .margin(16)
            .caption(&picture.caption, ("sans-serif", 13))
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(
                (x.least..x.most).log_scale().with_key_points(x.ticks()),
                (y.least..y.most).log_scale().with_key_points(y.ticks()),
            )
            .map_err(|error| fail(&error))?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_label_formatter(&|value| format!("{}x", short(*value)))
            .y_label_formatter(&|value| short(*value))
            .x_desc("answer tokens per second, relative to the twin")
            .y_desc("judge's perplexity per token (lower is likelier)")
            .draw()
            .map_err(|error| fail(&error))?;
        if let Some(human) = picture.human {
            let level = LineSeries::new([(x.least, human), (x.most, human)], HUMAN.stroke_width(1));
            chart
                .draw_series(level)
                .map_err(|error| fail(&error))?
                .label("human text, held out")
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], HUMAN.stroke_width(1)));
        }
        for (number, (series, colour)) in picture.series.iter().zip(COLOURS.into_iter().cycle()).enumerate() {
            let points = || series.marks.iter().map(|mark| (mark.speed, mark.perplexity));
            chart
                .draw_series(LineSeries::new(points(), colour.stroke_width(2)))
                .map_err(|error| fail(&error))?
                .label(&series.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
            let circles = points().map(|point| Circle::new(point, 3, colour.filled()));
            chart.draw_series(circles).map_err(|error| fail(&error))?;
            // The labels of every other line stand under it, so that two lines through one place can be read.
            let (side, gap) = if number % 2 == 0 { (VPos::Bottom, -6) } else { (VPos::Top, 7) };
            let style = ("sans-serif", 12).into_font().color(&colour).pos(Pos::new(HPos::Center, side));
            let labels = grouped(&series.marks, &x, &y)
                .into_iter()
                .map(|(place, text)| EmptyElement::at(place) + Text::new(text, (0, gap), style.clone()));
            chart.draw_series(labels).map_err(|error| fail(&error))?;
        }
        let twin = &picture.twin;
        chart
            .draw_series([TriangleMarker::new((twin.speed, twin.perplexity), 6, TWIN.filled())])
            .map_err(|error| fail(&error))?
            .label(&twin.label)
            .legend(|(x, y)| TriangleMarker::new((x + 9, y), 6, TWIN.filled()));
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .border_style(RGBColor(200, 200, 200))
            .draw()
            .map_err(|error| fail(&error))?;
        area.present().map_err(|error| fail(&error))?;
    }
    Ok(svg)
}

/// The labels with their places: marks that follow one another so closely that their labels would overlap have one.
fn grouped(marks: &[Mark], x: &Axis, y: &Axis) -> Vec<((f64, f64), String)> {
    let mut labels: Vec<((f64, f64), String)> = Vec::new();
    let mut before: Option<&Mark> = None;
    for mark in marks {
        let near = |other: &Mark| {
            let (along, up) = (x.share(other.speed, mark.speed), y.share(other.perplexity, mark.perplexity));
            along < CLOSE && up < CLOSE
        };
        match labels.last_mut() {
            Some((_, text)) if before.is_some_and(near) => {
                text.push_str(", ");
                text.push_str(&mark.label);
            }
            _ => labels.push(((mark.speed, mark.perplexity), mark.label.clone())),
        }
        before = Some(mark);
    }
    labels
}

/// A logarithmic axis.
struct Axis {
    least: f64,
    most: f64,
}

impl Axis {
    /// One that holds all values, with some room.
    fn around(values: impl Iterator<Item = f64>) -> Result<Self> {
        let (mut least, mut most) = (f64::INFINITY, 0.0f64);
        for value in values {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::Plot { message: format!("{value} has no place on a logarithmic axis") });
            }
            (least, most) = (least.min(value), most.max(value));
        }
        let room = (most / least).powf(0.1).max(1.08);
        Ok(Self { least: least / room, most: most * room })
    }

    /// How far two values are from each other, as a share of the axis.
    fn share(&self, one: f64, other: f64) -> f64 {
        (one / other).ln().abs() / (self.most / self.least).ln()
    }

    /// Round numbers within, fewer of them where the axis is long.
    fn ticks(&self) -> Vec<f64> {
        let digits: &[f64] = match self.most / self.least {
            ratio if ratio < 3.0 => &[1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
            ratio if ratio < 12.0 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
            ratio if ratio < 300.0 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let powers = self.least.log10().floor() as i32..=self.most.log10().ceil() as i32;
        let all = powers.flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)));
        all.filter(|tick| (self.least..=self.most).contains(tick)).collect()
    }
}

/// A tick as people write it.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(label: &str, speed: f64, perplexity: f64) -> Mark {
        Mark { label: label.to_string(), speed, perplexity }
    }

    fn picture() -> TradeoffPicture {
        let marks = vec![mark("4 steps", 3.0, 200.0), mark("64 steps", 0.4, 40.0)];
        TradeoffPicture {
            caption: "a machine".to_string(),
            series: vec![Series { name: "low_confidence".to_string(), marks }],
            twin: mark("the twin", 1.0, 50.0),
            human: Some(55.0),
        }
    }

    #[test]
    fn every_setting_is_named_in_the_picture() {
        let svg = tradeoff(&picture()).expect("a picture");
        assert!(svg.starts_with("<svg"));
        for part in ["a machine", "4 steps", "64 steps", "low_confidence", "the twin", "human text", "1x", "100"] {
            assert!(svg.contains(part), "{part}");
        }
    }

    #[test]
    fn marks_in_one_place_share_a_label() {
        let axis = || Axis::around([1.0, 100.0].into_iter()).expect("an axis");
        let marks = [mark("4", 90.0, 50.0), mark("8", 91.0, 50.0), mark("16", 10.0, 50.0), mark("32", 9.9, 5.0)];
        let labels: Vec<_> = grouped(&marks, &axis(), &axis()).into_iter().map(|(_, text)| text).collect();
        assert_eq!(labels, ["4, 8", "16", "32"]);
    }

    #[test]
    fn what_has_no_logarithm_is_refused() {
        let mut none = picture();
        none.series[0].marks[0].speed = 0.0;
        assert!(tradeoff(&none).expect_err("no place").to_string().contains("logarithmic"));
    }

    #[test]
    fn ticks_are_round_and_within() {
        let axis = Axis::around([0.3, 4.0].into_iter()).expect("an axis");
        assert!(axis.least < 0.3 && axis.most > 4.0);
        let ticks: Vec<_> = axis.ticks().into_iter().map(short).collect();
        assert_eq!(ticks, ["0.5", "1", "2", "5"]);
        let short_axis = Axis::around([2.0, 4.0].into_iter()).expect("an axis");
        assert!(short_axis.ticks().len() > 4);
        let one = Axis::around([7.0].into_iter()).expect("an axis");
        assert!(!one.ticks().is_empty());
    }
}
