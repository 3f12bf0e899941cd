{{/* Names and labels that the templates share. */}}

{{- define "assay.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "assay.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "assay.labels" -}}
{{ include "assay.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* The same of one part, of a dictionary with `root` and `part`. The one pod that has all of it is found by what all have. */}}

{{- define "assay.selector-of" -}}
{{ include "assay.selector" .root }}
{{- if ne .part "serve" }}
app.kubernetes.io/component: {{ .part }}
{{- end }}
{{- end -}}

{{- define "assay.labels-of" -}}
{{ include "assay.labels" .root }}
{{- if ne .part "serve" }}
app.kubernetes.io/component: {{ .part }}
{{- end }}
{{- end -}}

{{/* The parts there are, and the service of each. */}}

{{- define "assay.parts" -}}
{{ .Values.nodes.enabled | ternary "collector query" "serve" }}
{{- end -}}

{{- define "assay.service" -}}
{{ include "assay.name" .root }}{{ if ne .part "serve" }}-{{ .part }}{{ end }}
{{- end -}}

{{/* What a container may do, and where it finds its settings: of the server, and of the migration before it. */}}

{{- define "assay.shut-in" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "assay.settings" -}}
- {name: config, mountPath: /etc/assay, readOnly: true}
{{- if .Values.secretFiles }}
- {name: secrets, mountPath: /run/secrets/assay, readOnly: true}
{{- end }}
{{- end -}}
