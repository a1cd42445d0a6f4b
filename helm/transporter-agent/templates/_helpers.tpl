{{/* Names and labels are those that `helm create` gave the charts of 0.1: selectors cannot be changed by an upgrade. */}}

{{- define "transporter-agent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "transporter-agent.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "transporter-agent.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "transporter-agent.selectorLabels" -}}
app.kubernetes.io/name: {{ include "transporter-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "transporter-agent.labels" -}}
helm.sh/chart: {{ include "transporter-agent.chart" . }}
{{ include "transporter-agent.podLabels" . }}
{{- end }}

{{/* Without the chart's version: another chart alone replaces no pod. */}}
{{- define "transporter-agent.podLabels" -}}
{{ include "transporter-agent.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: transporter
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Of another name than the agent's own pods: a test is no agent for whoever counts them. */}}
{{- define "transporter-agent.testLabels" -}}
helm.sh/chart: {{ include "transporter-agent.chart" . }}
app.kubernetes.io/name: {{ include "transporter-agent.name" . | trunc 58 | trimSuffix "-" }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: transporter
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "transporter-agent.testName" -}}
{{- include "transporter-agent.fullname" . | trunc 49 | trimSuffix "-" }}-test
{{- end }}

{{/* Where the event of the test puts its object: where the agent may. */}}
{{- define "transporter-agent.testNamespace" -}}
{{- with include "transporter-agent.actsAs" . }}
{{- first (splitList "/" .) }}
{{- else }}
{{- default .Release.Namespace (first (.Values.rbac.namespaces | default list)) }}
{{- end }}
{{- end }}

{{/* `annotations:` of an object: those of all, then its own. Call with (list $ own). */}}
{{- define "transporter-agent.annotations" -}}
{{- $root := index . 0 }}
{{- $own := index . 1 }}
{{- with merge (deepCopy ($own | default dict)) ($root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "transporter-agent.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "transporter-agent.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "transporter-agent.image" -}}
{{- $image := .Values.image }}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag | toString) }}
{{- end }}
{{- end }}

{{- define "transporter-agent.imagePullSecrets" -}}
{{- with concat (.Values.imagePullSecrets | default list) (dig "imagePullSecrets" list (.Values.global | default dict)) }}
imagePullSecrets:
  {{- range . }}
  - name: {{ if kindIs "map" . }}{{ .name }}{{ else }}{{ . }}{{ end }}
  {{- end }}
{{- end }}
{{- end }}

{{/* 0.1's chart said agentID and clusterName, its README id and cluster. */}}
{{- define "transporter-agent.agentID" -}}
{{- default (default "" .Values.agent.id) .Values.agent.agentID }}
{{- end }}

{{- define "transporter-agent.clusterName" -}}
{{- coalesce .Values.agent.clusterName .Values.agent.cluster "default" }}
{{- end }}

{{- define "transporter-agent.cpURLs" -}}
{{- range splitList "," .Values.agent.cpURL }}
{{- with trim . }}
{{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* "true" where some address of the control plane is one over which everybody can read along. */}}
{{- define "transporter-agent.plain" -}}
{{- if regexMatch "(?i)(^|,)\\s*(ws|http)://" .Values.agent.cpURL }}true{{ end }}
{{- end }}

{{- define "transporter-agent.insecure" -}}
{{- if or .Values.agent.insecure (include "transporter-agent.plain" .) }}true{{ end }}
{{- end }}

{{/* Which rights the chart gives: "" where it gives none. */}}
{{- define "transporter-agent.rights" -}}
{{- if and .Values.rbac.create .Values.agent.inCluster }}
{{- if .Values.rbac.rules }}rules{{ else }}{{ .Values.rbac.preset }}{{ end }}
{{- end }}
{{- end }}

{{- define "transporter-agent.readOnly" -}}
{{- if kindIs "invalid" .Values.agent.readOnly }}
{{- if eq (include "transporter-agent.rights" .) "readOnly" }}true{{ end }}
{{- else if .Values.agent.readOnly }}true{{ end }}
{{- end }}

{{- define "transporter-agent.requireImpersonation" -}}
{{- if kindIs "invalid" .Values.agent.requireImpersonation }}
{{- if eq (include "transporter-agent.rights" .) "impersonator" }}true{{ end }}
{{- else if .Values.agent.requireImpersonation }}true{{ end }}
{{- end }}

{{/* The first account that it may act as by name, NAMESPACE/NAME; "" where there is none. */}}
{{- define "transporter-agent.actsAs" -}}
{{- $first := "" }}
{{- if eq (include "transporter-agent.rights" .) "impersonator" }}
{{- range .Values.rbac.impersonate }}
{{- if and (not $first) (regexMatch "^[a-z0-9-]+/[a-z0-9]" .) }}{{ $first = . }}{{ end }}
{{- end }}
{{- end }}
{{- $first }}
{{- end }}

{{/* Rules by namespace, as YAML; under "" those of the whole cluster. */}}
{{- define "transporter-agent.impersonation" -}}
{{- $verbs := list "impersonate" }}
{{- $all := dict }}
{{- $names := dict }}
{{- $users := list }}
{{- $groups := list }}
{{- $uids := list }}
{{- $keys := list }}
{{- $extras := dict }}
{{- range .Values.rbac.impersonate | default list | uniq }}
{{- if hasPrefix "user:" . }}{{ $users = append $users (trimPrefix "user:" .) }}
{{- else if hasPrefix "group:" . }}{{ $groups = append $groups (trimPrefix "group:" .) }}
{{- else if hasPrefix "uid:" . }}{{ $uids = append $uids (trimPrefix "uid:" .) }}
{{- else if hasPrefix "extra:" . }}
{{- $pair := splitn "=" 2 (trimPrefix "extra:" .) }}
{{- $keys = append $keys $pair._0 | uniq }}
{{- $_ := set $extras $pair._0 (append (get $extras $pair._0 | default list) $pair._1) }}
{{- else }}
{{- $pair := splitn "/" 2 . }}
{{- if eq $pair._1 "*" }}{{ $_ := set $all $pair._0 true }}{{ end }}
{{- $_ := set $names $pair._0 (append (get $names $pair._0 | default list) $pair._1) }}
{{- end }}
{{- end }}
{{- $result := dict }}
{{- range $namespace, $list := $names }}
{{- $rule := dict "apiGroups" (list "") "resources" (list "serviceaccounts") "verbs" $verbs }}
{{- if not (get $all $namespace) }}{{ $_ := set $rule "resourceNames" $list }}{{ end }}
{{- $_ := set $result $namespace (list $rule) }}
{{- end }}
{{- $people := list }}
{{- with $users }}{{ $people = append $people (dict "apiGroups" (list "") "resources" (list "users") "resourceNames" . "verbs" $verbs) }}{{ end }}
{{- with $groups }}{{ $people = append $people (dict "apiGroups" (list "") "resources" (list "groups") "resourceNames" . "verbs" $verbs) }}{{ end }}
{{- with $uids }}{{ $people = append $people (dict "apiGroups" (list "authentication.k8s.io") "resources" (list "uids") "resourceNames" . "verbs" $verbs) }}{{ end }}
{{- range $keys }}{{ $people = append $people (dict "apiGroups" (list "authentication.k8s.io") "resources" (list (printf "userextras/%s" .)) "resourceNames" (get $extras .) "verbs" $verbs) }}{{ end }}
{{- with $people }}{{ $_ := set $result "" . }}{{ end }}
{{- toYaml $result }}
{{- end }}

{{/* The Secret of key and certificate; "" where they lie in a directory, since the API server is another cluster's. */}}
{{- define "transporter-agent.identitySecret" -}}
{{- if .Values.identity.existingSecret }}
{{- .Values.identity.existingSecret }}
{{- else if .Values.identity.certManager.enabled }}
{{- printf "%s-certificate" (include "transporter-agent.fullname" .) }}
{{- else if .Values.agent.inCluster }}
{{- printf "%s-identity" (include "transporter-agent.fullname" .) }}
{{- end }}
{{- end }}

{{- define "transporter-agent.ownsIdentity" -}}
{{- if and .Values.agent.inCluster (not .Values.identity.existingSecret) (not .Values.identity.certManager.enabled) }}true{{ end }}
{{- end }}

{{- define "transporter-agent.enrolmentSecret" -}}
{{- if .Values.enrolment.existingSecret }}
{{- .Values.enrolment.existingSecret }}
{{- else if .Values.enrolment.token }}
{{- printf "%s-enrolment" (include "transporter-agent.fullname" .) }}
{{- end }}
{{- end }}

{{- define "transporter-agent.enrols" -}}
{{- if or .Values.enrolment.existingSecret .Values.enrolment.token .Values.enrolment.serviceAccountToken.enabled }}true{{ end }}
{{- end }}

{{- define "transporter-agent.kubeconfigPath" -}}
{{- default "/etc/transporter/kubeconfig/config" .Values.agent.kubeconfigPath }}
{{- end }}

{{- define "transporter-agent.pvcName" -}}
{{- default (printf "%s-state" (include "transporter-agent.fullname" .)) .Values.persistence.existingClaim }}
{{- end }}
