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
{{- if include "transporter-agent.requireImpersonation" . }}
- --require-impersonation
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
