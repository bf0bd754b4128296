//! Several gauges and rules, backlogs and outages: what the village search found.

use super::*;

#[test]
fn a_redelivered_frame_is_known_again_although_its_age_has_no_time() {
    let mut run = Run::new(river());
    let measurements = [Measurement {
        quantity: Quantity::WaterLevel,
        value: 1.5,
        stamp: Some(Stamp::Age(60_000)),
    }];
    let mut hear = |at: i64, redelivered: bool| {
        let input = Input::Heard { node: NodeIndex(0), measurements: &measurements, redelivered };
        run.engine.handle(input, minutes(at), &mut run.effects);
        std::mem::take(&mut run.effects)
    };
    assert!(matches!(hear(5, false)[..], [Effect::Reading(_)]));
    assert_eq!(hear(7, true), [Effect::Repeated { node: NodeIndex(0) }]);
}
