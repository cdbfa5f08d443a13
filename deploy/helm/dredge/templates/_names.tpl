{{/* The port that config.http.listen names. */}}
{{- define "dredge.port" -}}
{{ regexFind "[0-9]+$" .Values.config.http.listen }}
{{- end -}}

{{/* How the HTTP server is asked. */}}
{{- define "dredge.scheme" -}}
{{ if dig "tls" "cert_file" "" .Values.config.http }}https{{ else }}http{{ end }}
{{- end -}}

{{/* What a probe says besides path and port. */}}
{{- define "dredge.probe" -}}
{{ if eq (include "dredge.scheme" .) "https" }}, scheme: HTTPS{{ end }}
{{- end -}}

{{/* The name of what belongs to the cluster and not to a namespace. Neither part can have a colon, so no two releases share it. */}}
{{- define "dredge.cluster-name" -}}
dredge:{{ .Release.Namespace }}:{{ .Release.Name }}
{{- end -}}
