package blob

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/minio/minio-go/v7"
)

// s3Error is the one place that reads what a server or minio-go answered. What it
// does not know is ErrUnavailable: after a write that means "unknown", which is the
// one mistake that does no harm.
func s3Error(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	response, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok {
		if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
			return fmt.Errorf("%w: %w: %w", ErrUnavailable, ErrNotSent, err)
		}
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	kind := s3Kind(response)
	if response.Code == "ConditionalRequestConflict" {
		kind = fmt.Errorf("%w: %w", kind, errMet)
	}
	return fmt.Errorf("%w: %w (%s, status %d)", kind, err, response.Code, response.StatusCode)
}

func s3Kind(r minio.ErrorResponse) error {
	switch r.Code {
	case "NoSuchKey", "NoSuchUpload", "NoSuchVersion":
		return ErrNotFound
	case "NoSuchBucket", "InvalidBucketName", "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidRegion":
		return ErrNoBucket // here: the last ones mean that it lies in another region
	case "PreconditionFailed":
		return ErrPrecondition
	case "AccessDenied", "AccountProblem", "AllAccessDisabled", "InvalidAccessKeyId", "SignatureDoesNotMatch",
		"ExpiredToken", "InvalidToken", "InvalidClientTokenId", "RequestTimeTooSkewed", "InvalidSecurity", "NotSignedUp", "XAdminUserNotFound":
		return ErrDenied
	case "InvalidRange":
		return ErrRange
	case "XMinioStorageFull", "XMinioQuotaExceeded", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded", "StorageFull", "InsufficientStorage":
		return ErrFull
	case "KeyTooLongError", "KeyTooLong", "XMinioInvalidObjectName", "XMinioParentIsObject", "XMinioObjectExistsAsDirectory", "InvalidURI", "EntityTooLarge":
		return ErrInvalidKey
	case "ObjectParentIsFile", "ExistingObjectIsDirectory":
		// versitygw says so also to a write that meets the removal of an empty folder.
		return ErrUnavailable
	case "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "ConditionalRequestConflict", "OperationAborted":
		return ErrUnavailable
	}
	// No code that is known. A HEAD has none at all.
	switch r.StatusCode {
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusPreconditionFailed:
		return ErrPrecondition
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrDenied
	case http.StatusRequestedRangeNotSatisfiable:
		return ErrRange
	case http.StatusInsufficientStorage:
		return ErrFull
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect:
		return ErrNoBucket
	}
	return ErrUnavailable
}

// errMet: two conditional writes met, and the server let neither win.
var errMet = errors.New("another write came in between")
