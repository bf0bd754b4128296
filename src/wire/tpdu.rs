//! SMS transfer protocol data units (3GPP TS 23.040): SUBMIT, DELIVER, STATUS-REPORT.
