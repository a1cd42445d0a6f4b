{{/* Names and labels. With the release name transporter-cp everything is called as in 0.1. */}}
{{- define "transporter-cp.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "transporter-cp.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* What never changes: a Deployment's selector cannot, and 0.1's Service chose pods by the same two. */}}
{{- define "transporter-cp.selectorLabels" -}}
app.kubernetes.io/name: {{ include "transporter-cp.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Pods beside the control plane have a name of their own, so that no Service or policy of its takes them for it. */}}
{{- define "transporter-cp.partSelectorLabels" -}}
app.kubernetes.io/name: {{ include "transporter-cp.name" .root }}-{{ .part }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "transporter-cp.podLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: transporter
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Pods go without the chart's version, so that a new chart alone replaces none. */}}
{{- define "transporter-cp.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "transporter-cp.podLabels" . }}
{{- end }}

{{- define "transporter-cp.labels" -}}
{{ include "transporter-cp.selectorLabels" . }}
{{ include "transporter-cp.commonLabels" . }}
{{- end }}

{{- define "transporter-cp.partLabels" -}}
{{ include "transporter-cp.partSelectorLabels" . }}
{{ include "transporter-cp.commonLabels" .root }}
{{- end }}

{{/* `annotations:` of an object from the common ones and some of its own; nothing when there are none. Takes root and own. */}}
{{- define "transporter-cp.annotations" -}}
{{- $all := merge (dict) (default dict .own) (default dict .root.Values.commonAnnotations) }}
{{- if $all }}
annotations:
  {{- toYaml $all | nindent 2 }}
{{- end }}
{{- end }}

{{- define "transporter-cp.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "transporter-cp.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "transporter-cp.securitySecret" -}}
{{- include "transporter-cp.fullname" . }}-security
{{- end }}

{{/* 52 characters at most: a StatefulSet's pods have its name, and eleven more, as the value of a label. */}}
{{- define "transporter-cp.redisName" -}}
{{- include "transporter-cp.fullname" . | trunc 46 | trimSuffix "-" }}-redis
{{- end }}

{{- define "transporter-cp.redisSecret" -}}
{{- default (include "transporter-cp.redisName" .) .Values.redis.auth.existingSecret }}
{{- end }}

{{/* repository:tag, or repository@digest. Takes image and the tag when none is given. */}}
{{- define "transporter-cp.image" -}}
{{- if .image.digest }}
{{- printf "%s@%s" .image.repository .image.digest }}
{{- else }}
{{- printf "%s:%s" .image.repository (include "transporter-cp.plain" (.image.tag | default .tag)) }}
{{- end }}
{{- end }}

{{/* A number as it was written: without this, one from a million on is printed with an exponent. */}}
{{- define "transporter-cp.plain" -}}
{{- if kindIs "float64" . }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}
