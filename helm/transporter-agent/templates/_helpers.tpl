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
{{- default .Release.Namespace (first (.Values.rbac.namespaces | default list)) }}
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

{{/* The settings of the agent, as arguments. None is a secret. The test asks with the same ones. */}}
{{- define "transporter-agent.args" -}}
- --agent-id={{ include "transporter-agent.agentID" . }}
{{- with .Values.agent.agentName }}
- --agent-name={{ . }}
{{- end }}
- --cluster-name={{ include "transporter-agent.clusterName" . }}
- --cluster-provider={{ .Values.agent.clusterProvider }}
- --region={{ .Values.agent.region }}
- --namespace={{ default .Release.Namespace .Values.agent.namespace }}
{{- range $key, $value := .Values.agent.labels }}
- --label={{ $key }}={{ $value }}
{{- end }}
{{- range splitList "\n" (include "transporter-agent.cpURLs" .) }}
{{- with . }}
- --cp-url={{ . }}
{{- end }}
{{- end }}
{{- with .Values.agent.caHash }}
- --ca-hash={{ . }}
{{- end }}
{{- if or .Values.extraCA.configMap .Values.extraCA.secret }}
- --ca-file=/etc/transporter/ca/{{ .Values.extraCA.key }}
{{- end }}
{{- if include "transporter-agent.insecure" . }}
- --insecure
{{- end }}
{{- if include "transporter-agent.enrols" . }}
- --enrolment-token-file=/etc/transporter/enrolment/token
{{- end }}
{{- if .Values.agent.inCluster }}
- --in-cluster
- --identity-secret={{ .Release.Namespace }}/{{ include "transporter-agent.identitySecret" . }}
{{- else }}
- --kubeconfig={{ include "transporter-agent.kubeconfigPath" . }}
{{- with .Values.agent.kubeContext }}
- --context={{ . }}
{{- end }}
{{- if include "transporter-agent.identitySecret" . }}
- --identity-dir=/etc/transporter/identity
{{- end }}
{{- end }}
- --state-dir=/var/lib/transporter/agent
{{- if include "transporter-agent.readOnly" . }}
- --read-only
{{- end }}
- --max-concurrent={{ .Values.agent.maxConcurrent }}
- --heartbeat-interval={{ .Values.agent.heartbeatInterval }}
- --log-format={{ .Values.logFormat }}
{{- if .Values.debug }}
- --debug
{{- end }}
{{- end }}

{{- define "transporter-agent.env" -}}
{{- $proxy := .Values.proxy }}
{{- range $name, $entry := dict "HTTP_PROXY" (list $proxy.http $proxy.httpKey) "HTTPS_PROXY" (list $proxy.https $proxy.httpsKey) }}
{{- if $proxy.existingSecret }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $proxy.existingSecret }}
      key: {{ index $entry 1 }}
      optional: true
{{- else if index $entry 0 }}
- name: {{ $name }}
  value: {{ index $entry 0 | quote }}
{{- end }}
{{- end }}
{{- if or $proxy.http $proxy.https $proxy.existingSecret }}
# The API server of this cluster is never asked by way of a proxy; the kubelet fills its address in.
- name: NO_PROXY
  value: {{ concat (list "$(KUBERNETES_SERVICE_HOST)" "kubernetes.default.svc" "localhost" "127.0.0.1" "::1") (compact (list $proxy.no)) | join "," | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What agent and test mount alike; each has a state directory of its own. */}}
{{- define "transporter-agent.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if include "transporter-agent.enrols" . }}
- name: enrolment
  mountPath: /etc/transporter/enrolment
  readOnly: true
{{- end }}
{{- if or .Values.extraCA.configMap .Values.extraCA.secret }}
- name: extra-ca
  mountPath: /etc/transporter/ca
  readOnly: true
{{- end }}
{{- if and (not .Values.agent.inCluster) .Values.agent.kubeconfigSecret }}
- name: kubeconfig
  mountPath: {{ dir (include "transporter-agent.kubeconfigPath" .) }}
  readOnly: true
{{- end }}
{{- if and (not .Values.agent.inCluster) (include "transporter-agent.identitySecret" .) }}
- name: identity
  mountPath: /etc/transporter/identity
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "transporter-agent.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- if include "transporter-agent.enrols" . }}
- name: enrolment
  {{- if .Values.enrolment.serviceAccountToken.enabled }}
  projected:
    sources:
      - serviceAccountToken:
          path: token
          audience: {{ .Values.enrolment.serviceAccountToken.audience }}
          expirationSeconds: {{ .Values.enrolment.serviceAccountToken.expirationSeconds }}
  {{- else }}
  secret:
    secretName: {{ include "transporter-agent.enrolmentSecret" . }}
    # For the pod's group, which fsGroup makes the owner.
    defaultMode: 0440
    # Once the agent has its certificate, the token may be taken away.
    optional: true
    items:
      - key: {{ .Values.enrolment.key }}
        path: token
  {{- end }}
{{- end }}
{{- if .Values.extraCA.configMap }}
- name: extra-ca
  configMap:
    name: {{ .Values.extraCA.configMap }}
{{- else if .Values.extraCA.secret }}
- name: extra-ca
  secret:
    secretName: {{ .Values.extraCA.secret }}
    items:
      - key: {{ .Values.extraCA.key }}
        path: {{ .Values.extraCA.key }}
{{- end }}
{{- if and (not .Values.agent.inCluster) .Values.agent.kubeconfigSecret }}
- name: kubeconfig
  secret:
    secretName: {{ .Values.agent.kubeconfigSecret }}
    defaultMode: 0440
    items:
      - key: {{ .Values.agent.kubeconfigKey }}
        path: {{ base (include "transporter-agent.kubeconfigPath" .) }}
{{- end }}
{{- if and (not .Values.agent.inCluster) (include "transporter-agent.identitySecret" .) }}
- name: identity
  secret:
    secretName: {{ include "transporter-agent.identitySecret" . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where the pod runs, and how it finds others: of agent and test alike. */}}
{{- define "transporter-agent.placement" -}}
{{- include "transporter-agent.imagePullSecrets" . }}
serviceAccountName: {{ include "transporter-agent.serviceAccountName" . }}
automountServiceAccountToken: {{ .Values.agent.inCluster }}
# The variables that Kubernetes makes of Services would look like settings.
enableServiceLinks: false
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
