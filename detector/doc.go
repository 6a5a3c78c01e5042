// Package detector makes isolation forests of events, and judges events with them.
//
// A detector is a version of the registry whose files hold a forest, mostly behind a
// scaler. It gives each event a score, which is scikit-learn's decision_function:
// below 0 is an anomaly, and how far below says how bad (ThreatLevels).
//
// # From events to a version
//
// A Reader takes a body apart into events, one at a time. Collect keeps of them the
// numbers to train on; Train makes scaler and forest, and Trained.Publish a version.
//
// # From a version to scores
//
// A Resolver remembers which version a reference names, a Pool keeps the detectors
// that were used last, and Detector.ScoreEvents judges a stream of events.
//
// # What an event may be
//
// A member that is no feature is ignored. A feature that is missing or null counts as
// 0, and such cases are counted. Anything else in the place of a number is an
// ErrBadEvent: it spoils that event in scoring, and the whole body in training.
package detector
