//! Plots, as SVG.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;

use crate::recovery::Recovery;

const WIDTH: u32 = 900;
const BAR: u32 = 26;
const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const THEIRS: RGBColor = RGBColor(0xb0, 0xb0, 0xb0);
const LIMIT: RGBColor = RGBColor(0xd9, 0xc0, 0x89);
const THROTTLED: RGBColor = RGBColor(0xc0, 0x39, 0x2b);

/// A bar for each name, the longest first.
pub(crate) fn bars(path: &Path, caption: &str, mut figures: Vec<(String, f64)>) -> anyhow::Result<()> {
    figures.sort_by(|a, b| a.1.total_cmp(&b.1));
    let most = figures.last().map_or(1.0, |(_, figure)| *figure);
    let count = figures.len();
    let root = SVGBackend::new(path, (WIDTH, 90 + BAR * count as u32)).into_drawing_area();
    let drawn = || -> Result<(), Box<dyn std::error::Error + '_>> {
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(caption, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(30)
            .build_cartesian_2d(-0.55 * most..1.15 * most, 0.0..count as f64)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .disable_y_axis()
            .x_label_formatter(&|x| if *x < 0.0 { String::new() } else { thousands(*x) })
            .draw()?;
        for (at, (name, figure)) in figures.iter().enumerate() {
            let (low, high) = (at as f64 + 0.15, at as f64 + 0.85);
            let colour = match name {
                name if name.starts_with("Pagemill") => OURS,
                name if name.starts_with("limit") => LIMIT,
                _ => THEIRS,
            };
            chart.draw_series([Rectangle::new([(0.0, low), (*figure, high)], colour.filled())])?;
            let style = ("sans-serif", 13).into_font();
            chart.draw_series([
                Text::new(name.clone(), (-0.54 * most, high - 0.1), style.clone()),
                Text::new(thousands(*figure), (figure + 0.01 * most, high - 0.1), style),
            ])?;
        }
        root.present()?;
        Ok(())
    };
    drawn().map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// Admitted and throttled a second, while the API halves its rate and lifts it again.
pub(crate) fn recovery(path: &Path, recovery: &Recovery) -> anyhow::Result<()> {
    let curve = recovery.curve();
    let end = curve.last().map_or(1.0, |point| point.0);
    let most = curve.iter().map(|point| point.1).fold(f64::from(recovery.rate), f64::max);
    let root = SVGBackend::new(path, (WIDTH, 360)).into_drawing_area();
    let drawn = || -> Result<(), Box<dyn std::error::Error + '_>> {
        root.fill(&WHITE)?;
        let caption = format!(
            "{}/s halved and lifted again, {} consumers: requests a second",
            recovery.rate, recovery.replicas
        );
        let mut chart = ChartBuilder::on(&root)
            .caption(caption, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(46)
            .build_cartesian_2d(0.0..end, 0.0..1.1 * most)?;
        chart.configure_mesh().x_desc("seconds").light_line_style(WHITE).draw()?;
        let permitted = permitted(recovery, end);
        chart.draw_series(LineSeries::new(permitted, THEIRS))?.label("permitted").legend(key(THEIRS));
        let admitted = curve.iter().map(|point| (point.0, point.1));
        chart
            .draw_series(LineSeries::new(admitted, OURS.stroke_width(2)))?
            .label("admitted")
            .legend(key(OURS));
        let throttled = curve.iter().map(|point| (point.0, point.2));
        chart
            .draw_series(LineSeries::new(throttled, THROTTLED.stroke_width(2)))?
            .label("throttled")
            .legend(key(THROTTLED));
        chart.configure_series_labels().background_style(WHITE).border_style(THEIRS).draw()?;
        root.present()?;
        Ok(())
    };
    drawn().map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn permitted(recovery: &Recovery, end: f64) -> Vec<(f64, f64)> {
    let all = f64::from(recovery.rate);
    let (halved, lifted) = (recovery.halved_at, recovery.lifted_at);
    vec![(0.0, all), (halved, all), (halved, all / 2.0), (lifted, all / 2.0), (lifted, all), (end, all)]
}

fn key(colour: RGBColor) -> impl Fn((i32, i32)) -> PathElement<(i32, i32)> {
    move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2))
}

/// `12,345`
pub(crate) fn thousands(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_figures_are_grouped() {
        let figures = [
            (7.4, "7"),
            (1_000.0, "1,000"),
            (187_654.3, "187,654"),
            (1_000_000.0, "1,000,000"),
            (-100.0, "-100"),
        ];
        for (figure, text) in figures {
            assert_eq!(thousands(figure), text);
        }
    }

    #[test]
    fn bars_are_drawn_longest_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bars.svg");
        bars(&path, "rows/s", vec![("Go pool".into(), 30_000.0), ("Pagemill".into(), 120_000.0)]).unwrap();
        let svg = std::fs::read_to_string(path).unwrap();
        assert!(
            svg.contains("30,000") && svg.find("Pagemill").unwrap() > svg.find("Go pool").unwrap(),
            "{svg}"
        );
    }
}
