//! The picture of a walk: a line for each place, from the weakest to the strongest frame.

use kengele::domain::survey::{Row, Verdict};
use std::fmt::Write as _;

/// Heights and widths, in the picture's own units.
const LINE: u32 = 44;
const TOP: u32 = 64;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 760.0;
const WIDTH: u32 = 900;
/// What the scale reaches from and to, dBm: a chip's sensitivity at SF12, and close by.
const WEAKEST: f64 = -140.0;
const STRONGEST: f64 = -40.0;
/// Letters of a place's name that fit.
const NAME_MAX: usize = 26;

/// Draws a picture that a telephone shows and a printer prints: the verdict stands there in words, not in colour alone.
pub(super) fn draw(rows: &[Row]) -> String {
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX / LINE);
    let height = TOP + count * LINE + 40;
    let mut svg = String::new();
    let mut add = |words: std::fmt::Arguments<'_>| {
        // Writing to a String does not fail.
        let _written = svg.write_fmt(words).is_ok();
    };
    add(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" font-family=\"sans-serif\" font-size=\"15\">\n\
         <title>How a node was heard, place by place</title>\n\
         <desc>Strength in dBm from {WEAKEST} to {STRONGEST}: the line is from the weakest to the strongest frame, the dot is the median.</desc>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    ));
    for dbm in [-140, -120, -100, -80, -60, -40] {
        let x = across(f64::from(dbm));
        add(format_args!(
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{dbm}</text>\n",
            height - 40,
            TOP - 12
        ));
    }
    add(format_args!(
        "<text x=\"{RIGHT}\" y=\"24\" text-anchor=\"end\" fill=\"#555\">strength, dBm</text>\n"
    ));
    for (row, line) in rows.iter().zip(0..) {
        let y = TOP + line * LINE + LINE / 2;
        add(format_args!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 14.0,
            y + 5,
            escaped(&row.place)
        ));
        if let Some([weakest, median, strongest]) = row.rssi_dbm {
            let colour = match row.verdict {
                Verdict::Good => "#1a7f37",
                Verdict::Fair | Verdict::TooFew => "#9a6700",
                Verdict::Poor | Verdict::Unheard => "#b42318",
            };
            add(format_args!(
                "<line x1=\"{:.1}\" y1=\"{y}\" x2=\"{:.1}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"6\" stroke-linecap=\"round\"/>\
                 <circle cx=\"{:.1}\" cy=\"{y}\" r=\"8\" fill=\"{colour}\" stroke=\"#fff\" stroke-width=\"2\"/>\n",
                across(weakest),
                across(strongest),
                across(median)
            ));
        }
        add(format_args!(
            "<text x=\"{}\" y=\"{}\">{}, {:.0} % lost</text>\n",
            RIGHT + 14.0,
            y + 5,
            row.verdict.as_str(),
            row.loss_percent()
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

fn across(dbm: f64) -> f64 {
    let share = (dbm.clamp(WEAKEST, STRONGEST) - WEAKEST) / (STRONGEST - WEAKEST);
    LEFT + share * (RIGHT - LEFT)
}

fn escaped(name: &str) -> String {
    let short: String = name.chars().take(NAME_MAX).filter(|c| !c.is_control()).collect();
    short.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
