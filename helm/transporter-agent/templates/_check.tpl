{{/* Mistakes that no schema can see, told before anything is changed. */}}
{{- define "transporter-agent.check" -}}
{{- range list "enrolment" "identity" "persistence" "proxy" "extraCA" "networkPolicy" "podDisruptionBudget" "probes" "tests" }}
{{- if not (kindIs "map" (index $.Values .)) }}
{{- fail (printf "%s is missing: these are the values of an older chart. Upgrade with --reset-then-reuse-values instead of --reuse-values, or give your values again with -f." .) }}
{{- end }}
{{- end }}
{{- $agent := .Values.agent }}
{{- if gt (int .Values.replicaCount) 1 }}
{{- fail "replicaCount: an agent is one process; two of one id would take each other's connection. For another cluster install another release with another agent.agentID." }}
{{- end }}
{{- if and $agent.agentID $agent.id (ne $agent.agentID $agent.id) }}
{{- fail (printf "agent.agentID (%s) and agent.id (%s) are two spellings of one thing: leave one out" $agent.agentID $agent.id) }}
{{- end }}
{{- if and $agent.clusterName $agent.cluster (ne $agent.clusterName $agent.cluster) }}
{{- fail (printf "agent.clusterName (%s) and agent.cluster (%s) are two spellings of one thing: leave one out" $agent.clusterName $agent.cluster) }}
{{- end }}
{{- if not (include "transporter-agent.agentID" .) }}
{{- fail "agent.agentID is missing: events name the agent by it, such as --set agent.agentID=shop-1" }}
{{- end }}
{{- if not $agent.cpURL }}
{{- fail "agent.cpURL is missing: the control plane's address, such as --set agent.cpURL=https://cp.example.com" }}
{{- end }}
{{- if and (include "transporter-agent.plain" .) (regexMatch "(?i)(^|,)\\s*(wss|https)://" $agent.cpURL) }}
{{- fail "agent.cpURL names addresses with and without TLS. Those without would take the check of certificates from all of them: leave one kind out." }}
{{- end }}
{{- if regexMatch "^v?0\\.1(\\.|$)" (toString (default "" .Values.image.tag)) }}
{{- fail (printf "image.tag %s is of 0.1, which this chart cannot start: leave image.tag out (%s)" .Values.image.tag .Chart.AppVersion) }}
{{- end }}
{{- $ways := 0 }}
{{- range list .Values.enrolment.token .Values.enrolment.existingSecret .Values.enrolment.serviceAccountToken.enabled }}
{{- if . }}{{ $ways = add1 $ways }}{{ end }}
{{- end }}
{{- if gt $ways 1 }}
{{- fail "enrolment: give one of token, existingSecret and serviceAccountToken.enabled" }}
{{- end }}
{{- if and .Values.identity.existingSecret .Values.identity.certManager.enabled }}
{{- fail "identity: give one of existingSecret and certManager.enabled" }}
{{- end }}
{{- if and .Values.identity.certManager.enabled (not .Values.identity.certManager.issuerRef.name) }}
{{- fail "identity.certManager.issuerRef.name is missing: the issuer of the CA that the control plane takes agents of" }}
{{- end }}
{{- if and .Values.extraCA.configMap .Values.extraCA.secret }}
{{- fail "extraCA: give one of configMap and secret" }}
{{- end }}
{{- $rights := include "transporter-agent.rights" . }}
{{- if and (eq $rights "namespaced") (not .Values.rbac.namespaces) }}
{{- fail "rbac.preset namespaced needs rbac.namespaces, such as --set 'rbac.namespaces={shop,shop-jobs}'" }}
{{- end }}
{{- if and (eq $rights "impersonator") (not .Values.rbac.impersonate) }}
{{- fail "rbac.preset impersonator needs rbac.impersonate, those whom the agent may act as, such as --set 'rbac.impersonate={shop/deployer}'" }}
{{- end }}
{{- if and (eq $rights "impersonator") (or .Values.rbac.namespaces .Values.rbac.groups) }}
{{- fail "rbac.namespaces and rbac.groups mean nothing with rbac.preset impersonator, which may do nothing itself: give those of rbac.impersonate the rights they need" }}
{{- end }}
{{- range .Values.rbac.impersonate | default list }}
{{- if has . (list "group:system:masters" "user:system:admin") }}
{{- fail (printf "rbac.impersonate %s: whoever may act as that one owns the cluster, and rbac.preset clusterAdmin says so" .) }}
{{- end }}
{{- end }}
{{- if and .Values.rbac.impersonate $rights (ne $rights "impersonator") }}
{{- fail (printf "rbac.impersonate means nothing with %s: take the preset impersonator" (ternary "rbac.rules" (printf "rbac.preset %s" $rights) (eq $rights "rules"))) }}
{{- end }}
{{- if and .Values.rbac.namespaces (has $rights (list "clusterAdmin" "rules")) }}
{{- fail (printf "rbac.namespaces bounds nothing with %s, which counts in all of them: leave it out, or take the preset namespaced" (ternary "rbac.rules" "rbac.preset clusterAdmin" (eq $rights "rules"))) }}
{{- end }}
{{- if and .Values.networkPolicy.enabled .Values.networkPolicy.egress.enabled (not .Values.networkPolicy.egress.rules) }}
{{- fail "networkPolicy.egress.rules is empty: the agent could reach neither the control plane nor its API server" }}
{{- end }}
{{- if .Values.podDisruptionBudget.enabled }}
{{- if and (not (kindIs "invalid" .Values.podDisruptionBudget.minAvailable)) (not (kindIs "invalid" .Values.podDisruptionBudget.maxUnavailable)) }}
{{- fail "podDisruptionBudget: give one of minAvailable and maxUnavailable" }}
{{- end }}
{{- end }}
{{- end }}
