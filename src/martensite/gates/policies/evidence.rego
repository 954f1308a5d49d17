# What policies ask of evidence. Each function takes what is wanted and gives a set of checks {rule, verdict, reason}; a policy
# puts those it wants into data.martensite.policy.checks. Requirements are positive: what isn't there fails.
#
# Texts are joined by concat, because the interpreter's sprintf puts some strings in quotes.
package martensite.evidence

import rego.v1

check(rule, verdict, words) := {"rule": rule, "verdict": verdict, "reason": concat("", words)}

number(x) := sprintf("%v", [x])

percent(x) := sprintf("%.1f%%", [x * 100])

shown(rate) := concat("", [percent(rate.value), " [", percent(rate.low), ", ", percent(rate.high), "]"])

setting(wanted, name) := object.get(wanted, name, null)

# ---- which claim

# Claims of a kind that count, the newest first.
of(kind) := object.get(input.claims, kind, [])

# Those among them that were measured as the model is to serve.
for_serving(kind) := [claim | some claim in of(kind); claim.predicate.serving == input.serving]

refused(kind) := array.concat(object.get(input.refused, kind, []), object.get(input.refused, "unreadable", []))

missing(kind) := check(kind, "FAIL", ["there is no ", kind, " claim"]) if count(refused(kind)) == 0

missing(kind) := check(kind, "FAIL", ["no ", kind, " claim counts: ", concat("; ", refused(kind))]) if count(refused(kind)) > 0

days(claim) := (input.now - claim.created) / 86400

oldest(wanted) := object.get(wanted, "max_age_days", 1000000)

there(kind, claim, wanted) := check(kind, "PASS", ["claimed by ", claim.owner, sprintf(", %.1f days ago", [days(claim)])]) if {
	days(claim) <= oldest(wanted)
}

there(kind, claim, wanted) := check(concat("", [kind, ".max_age_days"]), "FAIL", words) if {
	days(claim) > oldest(wanted)
	words := ["the newest ", kind, sprintf(" claim is %.1f days old, at most ", [days(claim)]), number(oldest(wanted)), " are allowed"]
}

# A claim of the kind, not too old.
claimed(kind, wanted) := {missing(kind)} if count(of(kind)) == 0

claimed(kind, wanted) := {there(kind, of(kind)[0], wanted)} if count(of(kind)) > 0

# The same for what is measured: as the model is to serve.
measured(kind, wanted) := {missing(kind)} if count(of(kind)) == 0

measured(kind, wanted) := {elsewhere(kind)} if {
	count(of(kind)) > 0
	count(for_serving(kind)) == 0
}

measured(kind, wanted) := {there(kind, for_serving(kind)[0], wanted)} if count(for_serving(kind)) > 0

elsewhere(kind) := check(concat("", [kind, ".serving"]), "FAIL", words) if {
	words := ["it was measured for ", ways(of(kind)[0].predicate.serving), ", and the model is to serve as ", ways(input.serving)]
}

ways(serving) := concat("", [
	serving.dtype, ", preprocessing ", serving.preprocessing, ", defences ", concat(" and ", listed(serving.defences)),
	", quantisation ", serving.quantisation,
])

listed(names) := ["none"] if count(names) == 0

listed(names) := names if count(names) > 0

# ---- figures

# The whole interval decides.
at_least(rule, what, rate, least) := check(rule, "PASS", [what, " is ", shown(rate), ": the whole interval clears ", percent(least)]) if {
	rate.low >= least
}

at_least(rule, what, rate, least) := check(rule, "FAIL", [what, " is ", shown(rate), ": the whole interval is below ", percent(least)]) if {
	rate.high < least
}

at_least(rule, what, rate, least) := check(rule, "INCONCLUSIVE", [what, " is ", shown(rate), ": the interval straddles ", percent(least)]) if {
	rate.low < least
	rate.high >= least
}

at_most(rule, what, found, most) := check(rule, "PASS", [what, " is ", number(found), ", at most ", number(most)]) if found <= most

at_most(rule, what, found, most) := check(rule, "FAIL", [what, " is ", number(found), ", at most ", number(most), " is allowed"]) if found > most

no_less(rule, what, found, least) := check(rule, "PASS", [what, ": ", number(found), ", at least ", number(least)]) if found >= least

no_less(rule, what, found, least) := check(rule, "FAIL", [what, ": ", number(found), ", at least ", number(least), " needed"]) if found < least

one_of(rule, what, found, allowed) := check(rule, "PASS", [what, " is ", found]) if found in allowed

one_of(rule, what, found, allowed) := check(rule, "FAIL", [what, " is ", found, ", needed is ", concat(" or ", allowed)]) if not found in allowed

# ---- accuracy under attack

# wanted: max_age_days, min_clean_accuracy, min_robust_accuracy, min_samples, norm, min_eps, suites, min_canaries
robustness(wanted) := measured("robustness", wanted) if count(for_serving("robustness")) == 0

robustness(wanted) := union({
	measured("robustness", wanted), sound(claim), accuracies(claim, wanted), circumstances(claim, wanted), canaries(claim, wanted),
}) if {
	claim := for_serving("robustness")[0]
}

sound(claim) := {check("robustness.sound", "INCONCLUSIVE", ["the harness reports: ", concat("; ", claim.predicate.errors)]) |
	count(claim.predicate.errors) > 0
} | {check("robustness.diagnostics", "INCONCLUSIVE", [one.name, ": ", one.evidence]) |
	some one in claim.predicate.diagnostics
	one.severity == "invalid"
} | {check("robustness.complete", "INCONCLUSIVE", [number(claim.predicate.unattacked), " samples could not be attacked"]) |
	claim.predicate.unattacked > 0
}

accuracies(claim, wanted) := {made |
	some name in ["clean_accuracy", "robust_accuracy"]
	key := concat("", ["min_", name])
	least := setting(wanted, key)
	least != null
	made := at_least(concat("", ["robustness.", key]), replace(name, "_", " "), claim.predicate[name], least)
}

circumstances(claim, wanted) := {made |
	least := setting(wanted, "min_samples")
	least != null
	made := no_less("robustness.min_samples", "samples", claim.predicate.n, least)
} | {made |
	least := setting(wanted, "min_eps")
	least != null
	made := no_less("robustness.min_eps", "eps of the threat model", claim.predicate.threat.eps, least)
} | {made |
	norm := setting(wanted, "norm")
	norm != null
	made := one_of("robustness.norm", "the norm", claim.predicate.threat.norm, [norm])
} | {made |
	suites := setting(wanted, "suites")
	suites != null
	made := one_of("robustness.suites", "the suite", claim.predicate.suite.name, suites)
}

canaries(claim, wanted) := {made |
	least := setting(wanted, "min_canaries")
	least != null
	caught := [canary | some canary in claim.predicate.canaries; canary.passed]
	made := no_less("robustness.min_canaries", "canaries that the harness saw through", count(caught), least)
} | {check("robustness.canaries", "INCONCLUSIVE", ["the canary ", canary.name, " fooled the harness"]) |
	some canary in claim.predicate.canaries
	not canary.passed
}

# ---- certificates

# wanted: max_age_days, radius and min_certified_accuracy
certification(wanted) := measured("certification", wanted) if count(for_serving("certification")) == 0

certification(wanted) := measured("certification", wanted) | {made |
	least := setting(wanted, "min_certified_accuracy")
	least != null
	made := certified(claim, wanted.radius, least)
} if {
	claim := for_serving("certification")[0]
}

# Certified accuracy falls with the radius: what was measured at a larger one holds at this one, too.
beyond(claim, radius) := [point | some point in claim.predicate.certified; point.eps >= radius]

certified(claim, radius, least) := check("certification.min_certified_accuracy", "FAIL", ["nothing was certified at radius ", number(radius)]) if {
	count(beyond(claim, radius)) == 0
}

certified(claim, radius, least) := made if {
	nearest := min([point.eps | some point in beyond(claim, radius)])
	point := [one | some one in beyond(claim, radius); one.eps == nearest][0]
	what := concat("", ["certified accuracy at radius ", number(nearest)])
	made := at_least("certification.min_certified_accuracy", what, point.accuracy, least)
}

# ---- the others

# wanted: max_age_days, max_epsilon, max_delta
privacy(wanted) := claimed("privacy", wanted) | {made |
	some claim in array.slice(of("privacy"), 0, 1)
	some name in ["epsilon", "delta"]
	key := concat("", ["max_", name])
	most := setting(wanted, key)
	most != null
	made := at_most(concat("", ["privacy.", key]), name, claim.predicate[name], most)
}

# wanted: max_age_days, allow (what the scanner may say; by default only that a file is clean)
scan(wanted) := claimed("scan", wanted) | {made |
	some claim in array.slice(of("scan"), 0, 1)
	worse := {word | some word in claim.predicate.files} - {word | some word in object.get(wanted, "allow", ["clean"])}
	made := scanned(worse, claim)
}

scanned(worse, claim) := check("scan.clean", "PASS", [number(count(claim.predicate.files)), " files were scanned"]) if count(worse) == 0

scanned(worse, claim) := check("scan.clean", "FAIL", ["files are ", concat(", ", worse), ": ", concat("; ", claim.predicate.findings)]) if {
	count(worse - {"unjudged"}) > 0
}

scanned(worse, claim) := check("scan.clean", "INCONCLUSIVE", ["files could not be judged"]) if worse == {"unjudged"}

# wanted: max_age_days, monotonic (a record of earlier versions has to be there)
release(wanted) := claimed("release", wanted) | {check("release.monotonic", "INCONCLUSIVE", ["no record of earlier versions was given"]) |
	object.get(wanted, "monotonic", false)
	not input.recorded
}

# Nothing about the model: that this very decision goes into an audit log.
audit(_) := {check("audit", "PASS", ["this decision is recorded in an audit log"])} if object.get(input, "audited", false)

audit(_) := {check("audit", "FAIL", ["this decision is recorded in no audit log: give --audit"])} if not object.get(input, "audited", false)

# People who approve: by owner, not by key, and never who asked for the release. wanted: max_age_days, people
approval(wanted) := {missing("approval")} if count(of("approval")) == 0

approval(wanted) := {approved(fresh - {owner | some owner in input.requesters}, object.get(wanted, "people", 1))} if {
	count(of("approval")) > 0
	fresh := {claim.owner | some claim in of("approval"); days(claim) <= oldest(wanted)}
}

approved(people, needed) := check("approval", "PASS", ["approved by ", concat(" and ", people)]) if count(people) >= needed

approved(people, needed) := check("approval", "FAIL", [
	"approved by ", number(count(people)), " of ", number(needed), " people; who asked for the release doesn't count, nor does the past",
]) if {
	count(people) < needed
}
