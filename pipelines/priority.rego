# The priority table of pipelines/alerts.yaml, as Rego. A pipeline names it by
#
#   priority:
#     rego: { file: priority.rego, query: data.breakwater.priority }
#
# input.environment and input.severity are as judged; input.alert has name, namespace, severity (as sent), kind,
# resource, cluster, source, labels, annotations. The answer is "P0", "P1", "P2" or "P3"; anything else takes
# priority.fallback, counted. What could grow without end is refused when the file is loaded: comprehensions, rules that
# gather sets or objects, arithmetic, and functions but for startswith, endswith, contains, lower, upper, trim…, count,
# object.get, is_…; there is no clock, no chance and no network. `breakwater check` says so with line and column.
package breakwater

import rego.v1

# Severity, then environment; "" stands for any that is not named in its row.
table := {
	"critical": {"production": "P0", "staging": "P1", "development": "P2", "": "P1"},
	"warning": {"production": "P1", "staging": "P2", "development": "P2", "": "P2"},
	"info": {"": "P3"},
}

priority := cell if {
	cell := table[input.severity][input.environment]
} else := cell if {
	cell := table[input.severity][""]
}
