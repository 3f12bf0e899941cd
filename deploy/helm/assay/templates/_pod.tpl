{{/*
The pod of one part of Assay. Takes a dictionary: `root`; `part`, the command (serve, collector, query); `resources`; `bucketSecret`;
`readiness`, the path of that probe; `volume`, what its data folder is on, unless a claim of that name is.
*/}}

{{- define "assay.pod" -}}
{{- $values := .root.Values -}}
metadata:
  labels: {{- include "assay.labels-of" . | nindent 4 }}
  annotations:
    # A changed configuration restarts the pod.
    checksum/config: {{ $values.config | sha256sum }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "assay.name" .root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    # Not file by file at every start: a lake has many.
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  {{- if and $values.migrate (ne .part "query") }}
  initContainers:
    - name: migrate
      image: "{{ $values.image.repository }}:{{ $values.image.tag | default .root.Chart.AppVersion }}"
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: [migrate]
      env:
        - {name: ASSAY_CONFIG, value: /etc/assay/assay.toml}
      resources: {{- toYaml .resources | nindent 8 }}
      securityContext: {{- include "assay.shut-in" .root | nindent 8 }}
      volumeMounts: {{- include "assay.settings" .root | nindent 8 }}
  {{- end }}
  containers:
    - name: assay
      image: "{{ $values.image.repository }}:{{ $values.image.tag | default .root.Chart.AppVersion }}"
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: [{{ .part }}]
      env:
        - {name: ASSAY_CONFIG, value: /etc/assay/assay.toml}
        - {name: ASSAY_DATA_DIR, value: /var/lib/assay}
        - {name: ASSAY_HTTP, value: "0.0.0.0:8080"}
        {{- if ne .part "query" }}
        - {name: ASSAY_OTLP_GRPC, value: "0.0.0.0:4317"}
        - {name: ASSAY_OTLP_HTTP, value: "0.0.0.0:4318"}
        {{- end }}
        # Who may reach these ports is decided by the NetworkPolicy: there are no accounts yet.
        - {name: ASSAY_INSECURE, value: "true"}
        - {name: ASSAY_LOG_FORMAT, value: json}
        {{- if and $values.retention (ne .part "query") }}
        - {name: ASSAY_RETENTION, value: {{ $values.retention | quote }}}
        {{- end }}
        {{- with $values.bucket.url }}
        - {name: ASSAY_STORAGE_URL, value: {{ . | quote }}}
        {{- end }}
        {{- with .bucketSecret }}
        {{- $secret := . }}
        {{- $keys := dict "s3" (list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY") "gs" (list "GOOGLE_SERVICE_ACCOUNT_KEY") }}
        {{- $keys = set $keys "az" (list "AZURE_STORAGE_ACCOUNT_NAME" "AZURE_STORAGE_ACCOUNT_KEY") }}
        {{- range $key := get $keys (splitList "://" ($values.bucket.url | default "s3://") | first) }}
        - name: {{ $key }}
          valueFrom:
            secretKeyRef: {name: {{ $secret }}, key: {{ $key }}}
        {{- end }}
        {{- end }}
        {{- if ne .part "collector" }}
        {{- with $values.accounts.url }}
        - {name: ASSAY_ACCOUNTS_URL, value: {{ . | quote }}}
        {{- end }}
        {{- with $values.accounts.existingSecret }}
        - name: PGPASSWORD
          valueFrom:
            secretKeyRef: {name: {{ . }}, key: PGPASSWORD}
        {{- end }}
        {{- end }}
        {{- with $values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - {name: http, containerPort: 8080}
        {{- if ne .part "query" }}
        - {name: otlp-grpc, containerPort: 4317}
        - {name: otlp-http, containerPort: 4318}
        {{- end }}
      # A start replays the log: seconds, at most minutes with a full one.
      startupProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 120
      livenessProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: {{ .readiness }}, port: http}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 3
      resources: {{- toYaml .resources | nindent 8 }}
      securityContext: {{- include "assay.shut-in" .root | nindent 8 }}
      volumeMounts:
        - {name: data, mountPath: /var/lib/assay}
        {{- include "assay.settings" .root | nindent 8 }}
  volumes:
    - name: config
      configMap:
        name: {{ include "assay.name" .root }}
    {{- with .volume }}
    - name: data
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $values.secretFiles }}
    - name: secrets
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
  {{- if ne .part "serve" }}
  # One machine that is lost should not take all of a part with it.
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "assay.selector-of" . | nindent 10 }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The volume of a pod that keeps a write-ahead log. */}}

{{- define "assay.claim" -}}
metadata:
  name: data
  labels: {{- include "assay.selector" . | nindent 4 }}
  {{- with .Values.persistence.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  accessModes: [ReadWriteOnce]
  {{- with .Values.persistence.storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ .Values.persistence.size }}
{{- end -}}
