{{/* The key service's ServiceAccount, Deployment and Service. */}}
{{- define "freehold.keys.name" -}}
freehold-keys
{{- end }}

{{/* Labels that never change. */}}
{{- define "freehold.keys.selector" -}}
app.kubernetes.io/name: freehold-keys
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "freehold.keys.labels" -}}
{{ include "freehold.keys.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: keys
app.kubernetes.io/part-of: freehold
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}
