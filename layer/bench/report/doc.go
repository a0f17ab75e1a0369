// Package report turns samples into a report and compares reports.
//
// # Place
//
// Below layer/bench, which measures and hands over the samples of each case; a [Report] says what they mean,
// as a table, as JSON, as a page of HTML with plots, and beside another report ([Compare]). It knows nothing of KVM.
// layer/bench/where says what a report was made on.
//
// # Idea
//
// Launches of one virtual machine after another differ more than the samples of one do: each has its own
// memory, caches and neighbours for as long as it lives. Ten thousand samples of a launch are therefore one
// observation of what differs between launches, and an interval that takes them for ten thousand is far too
// narrow (Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013).
//
// So a quantile is taken inside each launch, by nearest rank, and the estimate is the median over launches.
// Its 95 % interval comes from a hierarchical bootstrap: draw as many launches with replacement, draw from
// each as many samples with replacement, take the quantile of each and the median of these, a thousand times
// (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8). Samples are not really
// drawn: the place of the k-th smallest of n draws has the distribution Beta(k, n+1-k), so one number tells
// which sample it is. That is the same bootstrap, not an approximation, and costs two random numbers where it
// took n: a row of 5 launches of 10,000 samples takes some 10 ms, most of it to sort them.
//
// The median is chosen because one bad launch does not move it and because its interval is honest with few
// launches: with five it spans all five medians, which hold the true one in 94 % of experiments whatever
// their distribution. A percentile bootstrap of the mean of five would hold it in some 80 to 85 %.
//
// Two rows differ only if the intervals of their medians are disjoint. For equal machines with five launches
// each that takes all medians of the one beyond all of the other: 2 of 252 orders, so below 1 % of rows.
//
// # Invariants
//
//   - Equal samples and seeds give equal reports; a report is the same as itself.
//   - Low <= Value <= High in every [Estimate].
//   - What [Report.Write] writes, [Read] reads. Read takes bytes from anywhere, in bounded time and memory,
//     and no text that it returns can steer a terminal.
//   - A page of HTML loads nothing and runs nothing. Texts are escaped where the template puts them; what is drawn has its
//     places from numbers alone, and they lie within the drawing.
//   - A file of another [Version] is refused; fields that are not known are passed over.
//   - A comparison that would mislead is refused: steal time above [StealLimit], fewer than four launches, another
//     processor, another kind of KVM. It is made all the same, so a caller can be told to force it.
//
// # Limits
//
//   - With one launch an interval holds only what differs inside it, with up to three it is too narrow.
//   - With n samples a launch, quantiles above 1-1/n are the largest sample; table and page show "-" instead.
//   - What differs between runs of the program on one machine, such as its other load, is in no interval.
//   - A sample below 0, which took less than the baseline, counts as 0; infinite ones and NaN are left out.
//   - A plot's labels and lines are laid out for names in Latin letters; wide ones may run into the axis.
//   - Many rows mean chance differences: one row of a hundred that differs is no finding.
package report
