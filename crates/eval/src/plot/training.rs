//! Curves of a training as an SVG picture.

use plotters::prelude::*;

use crate::error::{Error, Result};

/// One line of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Its name.
    pub name: String,
    /// Points (x, y); a single point is drawn as a level across the picture.
    pub points: Vec<(f64, f64)>,
}

/// Draws curves over millions of training tokens; the y axis is named `label`.
pub fn curves(curves: &[Curve], label: &str) -> Result<String> {
    let fail = |error: &dyn std::fmt::Display| Error::Plot { message: error.to_string() };
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let right = points().map(|point| point.0).fold(0.0, f64::max);
    let top = points().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let bottom = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    if right <= 0.0 || !(top - bottom).is_finite() {
        return Err(Error::Plot { message: "there are no points".to_string() });
    }
    let margin = (top - bottom).max(1e-6) * 0.08;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (720, 420)).into_drawing_area();
        area.fill(&WHITE).map_err(|error| fail(&error))?;
        let mut chart = ChartBuilder::on(&area)
            .margin(16)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..right, bottom - margin..top + margin)
            .map_err(|error| fail(&error))?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("training tokens (millions)")
            .y_desc(label)
            .draw()
            .map_err(|error| fail(&error))?;
        for (index, curve) in curves.iter().enumerate() {
            let colour = [RGBColor(0, 96, 168), RGBColor(200, 80, 0), RGBColor(110, 110, 110)][index % 3];
            let line = match curve.points.as_slice() {
                [(_, level)] => vec![(0.0, *level), (right, *level)],
                points => points.to_vec(),
            };
            chart
                .draw_series(LineSeries::new(line, colour.stroke_width(2)))
                .map_err(|error| fail(&error))?
                .label(&curve.name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .background_style(WHITE)
            .border_style(RGBColor(200, 200, 200))
            .draw()
            .map_err(|error| fail(&error))?;
        area.present().map_err(|error| fail(&error))?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_become_a_picture_with_their_names() {
        let lines = [
            Curve { name: "masked (bound)".to_string(), points: vec![(1.0, 3.0), (2.0, 2.0)] },
            Curve { name: "5-gram".to_string(), points: vec![(0.0, 2.5)] },
        ];
        let svg = curves(&lines, "bits per byte").expect("a picture");
        assert!(svg.starts_with("<svg") && svg.contains("masked (bound)") && svg.contains("5-gram"));
        assert!(curves(&[], "bits per byte").is_err());
    }
}
